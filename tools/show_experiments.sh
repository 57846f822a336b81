#!/usr/bin/env bash
# Let DVC see the experiments that were run, and those that are named: show_experiments.sh [NAME...]
# The others are hidden by experiments/.dvcignore, so that `dvc status` speaks of nothing that the user did not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../experiments"
hidden=()
for folder in */; do
    name=${folder%/}
    [ -e "$name/dvc.lock" ] || [[ " $* " == *" $name "* ]] || hidden+=("/$name/")
done
{
    echo "# Written by tools/show_experiments.sh: what was never run here."
    printf '%s\n' ${hidden[@]+"${hidden[@]}"}
} >.dvcignore
