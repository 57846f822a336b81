"""The runs of a system: trainings by one process, then by two Horovod workers, measured and written as rows."""
