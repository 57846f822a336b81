#!/usr/bin/env bash
# Copy results/ to reference/, pages left out, with the lock file of the main pipeline as a record of what it read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -d results ] || { echo "error: there are no results; run make repro first" >&2; exit 1; }
for path in results/*; do
    name=${path#results/}
    rm -rf "reference/$name"
    cp -R "$path" "reference/$name"
done
find reference -name '*.html' -delete
[ ! -e dvc.lock ] || cp dvc.lock reference/dvc.lock
python3 -c 'from tools.progress import OURS, YOURS, keep_seconds, read_seconds; keep_seconds(OURS, read_seconds(YOURS))'
