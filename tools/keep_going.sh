#!/usr/bin/env bash
# Run a pipeline whose stages may fail one by one: keep_going.sh FILE [STAGE...] [-- TARGET...]
# The others run all the same; then each STAGE, which depends on a failed one, is run on what there is. With TARGETs
# only they run, and what they depend on; then each STAGE.
# `dvc repro --keep-going` alone takes an interrupted stage for a failed one and starts the next.
set -uo pipefail
set -m # dvc gets a process group of its own, which is interrupted here and not by the terminal
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
file=$1
shift
stages=()
while (($#)) && [ "$1" != -- ]; do
  stages+=("$1")
  shift
done
targets=("${@:2}") # after the --

interrupt() {
  trap '' INT TERM
  kill -KILL "$dvc" 2>/dev/null # it must not start another stage; its locks name a dead process then, and hold nobody up
  kill -INT -- "-$dvc" 2>/dev/null
  wait "$dvc" 2>/dev/null
  while kill -0 -- "-$dvc" 2>/dev/null; do sleep 0.2; done # the stage cleans up
  echo "interrupted: what is finished is kept, run it again to go on" >&2
  exit 130
}

export PYTHONUNBUFFERED=1 # lines come when they are printed, through a pipe, too
goals=("${targets[@]/#/$file:}")
((${#targets[@]})) || goals=("$file")
dvc repro --keep-going "${goals[@]}" > >(python "$tools/progress.py" "$file" "${targets[@]/#/$file:}") &
dvc=$!
trap interrupt INT TERM
wait "$dvc"
status=$?
((status)) || ((${#targets[@]})) || exit 0
for stage in ${stages[@]+"${stages[@]}"}; do
  dvc repro --single-item "$file:$stage" &
  dvc=$!
  wait "$dvc"
done
exit "$status"
