#!/usr/bin/env bash
# Build the pinned Horovod wheel once and keep it in a cache folder.
#
#   tools/build_horovod.sh PYTHON VERSION
#
# Prints the folder that holds the wheel (for `pip install --find-links`) as its last line of stdout;
# everything else goes to stderr. The folder's name carries all that the binary depends on, so a wheel
# for another torch, Python, MPI or GPU setting is never picked up by mistake.
#
# Environment: GQBENCH_CACHE (default ~/.cache/gqbench), HOROVOD_GPU_OPERATIONS (NCCL or MPI), CXX.
set -euo pipefail
python=$1
version=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

torch=$("$python" -c 'import torch; print(torch.__version__)')
tag=$("$python" -c 'import sys, platform; print(f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}")')
mpi=nompi
command -v mpicxx >/dev/null 2>&1 && mpi=mpi
gpu=${HOROVOD_GPU_OPERATIONS:-cpu}
folder=${GQBENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gqbench}/horovod-$version-torch-$torch-$tag-$mpi-$gpu

mkdir -p "$folder"
# Of two set-ups at once the second waits here, and then finds the wheel of the first.
exec 9>"$folder/lock"
if ! flock --nonblock 9; then
    echo "Another set-up is building Horovod in $folder; waiting for it ..." >&2
    flock 9
fi
if compgen -G "$folder/horovod-$version-*.whl" >/dev/null; then
    echo "$folder"
    exit 0
fi

echo "Building Horovod $version for torch $torch ($mpi, $gpu); about 5 minutes on 2 cores, once ..." >&2
staging=$(mktemp -d "$folder/build.XXXXXX")
trap 'rm -rf "$staging"' EXIT
if [ "$mpi" = mpi ]; then export HOROVOD_WITH_MPI=1; else export HOROVOD_WITHOUT_MPI=1; fi
export HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_GLOO=1
export HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1
export GQBENCH_CXX=${CXX:-c++}
export CXX=$here/cxx20.sh
# Old CMakeLists inside Horovod (gloo) ask for a minimum that CMake 4 no longer knows.
export CMAKE_POLICY_VERSION_MINIMUM=3.5
export MAKEFLAGS=${MAKEFLAGS:--j$(nproc)}
# pip's own wheel cache knows nothing of torch or MPI and would hand out a wheel built for another.
if ! "$python" -m pip wheel --no-cache-dir --no-deps --no-build-isolation --no-binary horovod \
    --wheel-dir "$staging" "horovod==$version" >"$folder/build.log" 2>&1; then
    tail -n 30 "$folder/build.log" >&2
    echo "error: the Horovod build failed; the whole log is $folder/build.log" >&2
    exit 1
fi
mv "$staging"/horovod-*.whl "$folder/"
echo "$folder"
