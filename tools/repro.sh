#!/usr/bin/env bash
# Run the DAG with one MLflow parent run for all its stages; further arguments go to `dvc repro`.
set -euo pipefail
export GQBENCH_PIPELINE_RUN=${GQBENCH_PIPELINE_RUN:-$(date -u +%Y-%m-%dT%H:%M:%SZ)-$$}
tools/show_experiments.sh
start=$SECONDS
dvc repro "$@"
echo "Pipeline finished in $((SECONDS - start)) s. Report: results/report.html. Yours beside ours: make compare. Runs: make ui"
