"""One thin module per DVC stage: load its parameters, call `pipelines`, write the declared outputs."""
