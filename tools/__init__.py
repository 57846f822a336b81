"""Scripts around the suite: set-up, pipelines with one run, generated dependencies."""
