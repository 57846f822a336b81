"""What a step costs beside computing: seconds and bytes, and their summary over steps and workers."""
