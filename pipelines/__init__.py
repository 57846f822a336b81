"""The library behind the DVC stages: data, models, training, parallel strategies, evaluation, reporting."""
