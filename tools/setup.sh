#!/usr/bin/env bash
# Create the virtual environment VENV and install the pinned packages, Horovod from a wheel built once.
#
#   tools/setup.sh VENV
#
# Environment: PYTHON (the interpreter, 3.11), CXX, GQBENCH_CACHE, HOROVOD_GPU_OPERATIONS (see README).
# Whatever is missing is named in one line before anything long starts.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

python=$(command -v "${PYTHON:-python3.11}" || command -v python3 || true)
[ -n "$python" ] || fail "no Python found; install Python 3.11 (with venv), or name one: PYTHON=/path/to/python3.11 make setup"
found=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null || echo "no Python that runs")
[ "$found" = 3.11 ] || fail "Python 3.11 is needed, $python is $found; name one: PYTHON=/path/to/python3.11 make setup"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv module; install it (Debian: apt-get install python3.11-venv)"
command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler '${CXX:-c++}' found; install one (Debian: apt-get install g++), or name one: CXX=..."
echo 'int main() { return 0; }' | "${CXX:-c++}" -std=c++20 -x c++ -fsyntax-only - 2>/dev/null ||
    fail "the C++ compiler '${CXX:-c++}' does not know -std=c++20; torch's headers need it (g++ 11 or clang 14 and later)"
command -v cmake >/dev/null || fail "cmake not found; install it (Debian: apt-get install cmake), Horovod is built with it"
command -v make >/dev/null || fail "make not found"

version=$(sed -n 's/^horovod==//p' requirements.txt)
others=$(mktemp)
log=$(mktemp)
trap 'rm -f "$others" "$log"' EXIT
grep -v '^horovod==' requirements.txt >"$others"

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check "$@" >"$log" 2>&1 || {
        grep -E '^ERROR' "$log" >&2 || tail -n 20 "$log" >&2
        fail "pip could not install the packages of requirements.txt (see above); 'make setup' tries again"
    }
}

echo "Creating $venv and installing the packages of requirements.txt (a few minutes) ..." >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip install --constraint constraints.txt --requirement "$others"
wheels=$(tools/build_horovod.sh "$venv/bin/python" "$version")
pip install --constraint constraints.txt --find-links "$wheels" --no-build-isolation --requirement requirements.txt
"$venv/bin/python" -c 'import horovod.torch' || fail "the installed Horovod cannot be imported; remove $wheels and run 'make setup' again"
echo "Set-up finished: $venv" >&2
