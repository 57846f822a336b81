"""The tables of README and docs/results, made from reference/."""
