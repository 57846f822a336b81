"""One thin module per DVC stage: load its parameters, call `pipelines`, write the declared outputs."""

from pipelines.entry import hide_interrupt_traceback

# First of all, since the stages' imports take seconds in which a user may press Ctrl-C.
hide_interrupt_traceback()
