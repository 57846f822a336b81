"""What the study says: claims answered, tables, figures and the page, from the rows that the runs have written."""
