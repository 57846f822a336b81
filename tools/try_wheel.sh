#!/usr/bin/env bash
# Install the plugin's wheel, then its sdist, each into a clean environment (torch, Horovod and nothing of this checkout), and
# train the three examples on two ranks with it. Some ten minutes, most of them for installing torch twice.
#
#   make wheel && tools/try_wheel.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
pinned() { sed -n "s/^$1==//p" "$root/requirements.txt"; }
wheels=$("$root/tools/build_horovod.sh" "$python" "$(pinned horovod)")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R "$root/examples" "$place/"
cd "$place"

"$python" - <<'PYTHON'
import numpy as np

rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 320)
images = rng.integers(40, 216, (10, 3))[labels][:, None, None, :] + rng.integers(-40, 40, (320, 32, 32, 3))
np.savez("tiny.npz", x_train=images.astype(np.uint8), y_train=labels)
PYTHON

for package in "$root"/dist/horovod_gq-*.whl "$root"/dist/horovod_gq-*.tar.gz; do
    [ -f "$package" ] || { echo "error: dist/ has no wheel and sdist; run make wheel first" >&2; exit 1; }
    echo "== $(basename "$package")"
    rm -rf clean
    "$python" -m venv clean
    pip() { clean/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
    pip install "torch==$(pinned torch)" "numpy==$(pinned numpy)" "setuptools==$(pinned setuptools)" wheel
    pip install --no-build-isolation --find-links "$wheels" "$package[horovod]"
    clean/bin/python -c 'import horovod_gq; print("horovod_gq", horovod_gq.__version__, "from", horovod_gq.__file__)'
    for script in cifar10_stock cifar10_fast; do
        echo "-- horovodrun -np 2 python examples/$script.py"
        PATH=$place/clean/bin:$PATH OMP_NUM_THREADS=1 clean/bin/horovodrun --gloo -np 2 \
            clean/bin/python "examples/$script.py" --data tiny.npz --epochs 3
    done
    echo "-- torchrun --nproc-per-node 2 examples/cifar10_ddp.py"
    OMP_NUM_THREADS=1 clean/bin/torchrun --nproc-per-node 2 examples/cifar10_ddp.py --data tiny.npz --epochs 3
done
