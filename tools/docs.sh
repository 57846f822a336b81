#!/usr/bin/env bash
# Build the docs site in build/site: docs.sh PYTHON. A warning, a dead link for example, is an error.
# The site's source is a copy of the repository, so that a link from a page to any committed file works as it does there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv-docs
if ! [ "$venv/.ready" -nt docs/requirements.txt ]; then
    "$1" -m venv "$venv"
    "$venv/bin/pip" install --quiet -r docs/requirements.txt
    touch "$venv/.ready"
fi
rm -rf build/docs-source
mkdir -p build/docs-source
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t build/docs-source
NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" build --strict --quiet
echo "Docs: build/site/index.html"
