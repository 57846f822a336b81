#!/usr/bin/env bash
# C++ compiler wrapper for the Horovod build: Horovod 0.28.1 pins -std=c++14,
# the headers of torch 2.13 need C++20. Every -std=... is replaced, the rest is passed on.
set -euo pipefail
args=()
for arg in "$@"; do
    case "$arg" in
        -std=*) ;;
        *) args+=("$arg") ;;
    esac
done
exec "${GQBENCH_CXX:-c++}" -std=c++20 "${args[@]}"
