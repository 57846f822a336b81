#!/usr/bin/env bash
# Install the plugin's wheel, then its sdist, into an environment with torch and Horovod and nothing of this checkout, and train
# the three examples on two ranks with each. Some five minutes, most of them for installing torch.
#
#   make wheel && tools/try_wheel.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
pinned() { sed -n "s/^$1==//p" "$root/requirements.txt"; }
packages=("$root"/dist/horovod_gq-*.whl "$root"/dist/horovod_gq-*.tar.gz)
for package in "${packages[@]}"; do
    [ -f "$package" ] || { echo "error: dist/ has no wheel and sdist; run make wheel first" >&2; exit 1; }
done
wheels=$("$root/tools/build_horovod.sh" "$python" "$(pinned horovod)")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R "$root/examples" "$place/"
cd "$place"
unset PYTHONPATH
export PATH=$place/clean/bin:$PATH OMP_NUM_THREADS=1

"$python" - <<'PYTHON'
import numpy as np

rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 320)
images = rng.integers(40, 216, (10, 3))[labels][:, None, None, :] + rng.integers(-40, 40, (320, 32, 32, 3))
np.savez("tiny.npz", x_train=images.astype(np.uint8), y_train=labels)
PYTHON

echo "Installing torch and Horovod into a clean environment ..." >&2
"$python" -m venv clean
pip() { clean/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
# Horovod's wheel says nothing of what it needs to build an sdist of ours without the network: setuptools and wheel.
pip install "torch==$(pinned torch)" "numpy==$(pinned numpy)" "setuptools==$(pinned setuptools)" wheel
for package in "${packages[@]}"; do
    echo "== $(basename "$package")"
    pip uninstall --yes horovod-gq
    pip install --no-build-isolation --find-links "$wheels" "$package[horovod]"
    clean/bin/python -c 'import horovod_gq; print("horovod_gq", horovod_gq.__version__, "from", horovod_gq.__file__)'
    for script in cifar10_stock cifar10_fast; do
        echo "-- horovodrun -np 2 python examples/$script.py"
        horovodrun --gloo -np 2 python "examples/$script.py" --data tiny.npz --epochs 3
    done
    echo "-- torchrun --nproc-per-node 2 examples/cifar10_ddp.py"
    torchrun --nproc-per-node 2 examples/cifar10_ddp.py --data tiny.npz --epochs 3
done
echo "Wheel and sdist install and train."
