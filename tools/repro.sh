#!/usr/bin/env bash
# Run the DAG with one MLflow parent run for all its stages; further arguments go to `dvc repro`.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export GQBENCH_PIPELINE_RUN=${GQBENCH_PIPELINE_RUN:-$(date -u +%Y-%m-%dT%H:%M:%SZ)-$$}
# One run a checkout. The lock ends with its holder, however that ends; the file says who it is.
mkdir -p .dvc/tmp
exec 9<>.dvc/tmp/repro.lock
if ! flock --nonblock 9; then
    echo "error: this checkout is held by $(cat .dvc/tmp/repro.lock); wait for it, or end it (Ctrl-C there)" >&2
    exit 1
fi
echo "make repro, process $$ of $(id -un) on $(hostname), since $(date '+%Y-%m-%d %H:%M:%S')" >.dvc/tmp/repro.lock
start=$SECONDS
export PYTHONUNBUFFERED=1                                  # lines come when they are printed, through a pipe, too
dvc repro "$@" 9>&- | python "$tools/progress.py" dvc.yaml 9>&- # DVC's daemons must not keep the lock
echo "Pipeline finished in $((SECONDS - start)) s. Report: results/report.html. Yours beside ours: make compare. Runs: make ui"
