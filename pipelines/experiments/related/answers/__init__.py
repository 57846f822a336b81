"""What the rows of the systems say: claims answered, tables, figures and the page."""
