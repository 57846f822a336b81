"""The experiments beside the main pipeline, one package each; their DVC pipelines are in the folder experiments/."""
