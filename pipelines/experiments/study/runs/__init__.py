"""The trainings of the study: what is tuned, compared, traced and ablated, in a pool of processes."""
