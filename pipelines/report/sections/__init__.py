"""The sections of the report, one a module: each has a function `section` from `Inputs` to `Section`."""
