# Everything a user needs: `make repro` and `make test` set up what they need by themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tests of docs/reliability.md that have a long form.
SOAK := tests/unit/config/test_wrong_parameters.py tests/unit/training/test_damage.py tests/unit/checkpoints \
    tests/unit/data tests/unit/tracking/test_lost.py \
    tests/pipeline/test_kills.py tests/parallel/faults tests/cluster/test_faults.py
# DVC runs `python -m stages.*` and `horovodrun`: both come from the virtual environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup repro compare sweep convergence time_to_accuracy study related test soak coverage lint audit format deps picture tables docs ui server bench reference wheel api clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z_]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv, install the pinned packages, build Horovod once (cached wheel)

$(READY): requirements.txt constraints.txt tools/setup.sh tools/build_horovod.sh tools/cxx20.sh
	@PYTHON="$(PYTHON)" tools/setup.sh $(VENV)
	@touch $@

repro: $(READY) ## rerun the whole study (dvc repro); open results/report.html afterwards
	@$(BIN)/python -m stages.preflight
	@tools/show_experiments.sh
	@tools/repro.sh

compare: $(READY) ## show your results beside ours (reference/): numbers, and what differs in machine, commit and versions
	@$(BIN)/python -m stages.compare $(FILES)

# The experiments: one folder of experiments/ each, written up in results/NAME.
sweep: $(READY) ## time every method on emulated slow links (root or user namespaces; about two hours)
	@$(BIN)/python -m stages.preflight --pipeline $@
	@tools/show_experiments.sh $@
	@set -o pipefail; PYTHONUNBUFFERED=1 $(BIN)/dvc repro experiments/$@/dvc.yaml | $(BIN)/python tools/progress.py experiments/$@/dvc.yaml

convergence: $(READY) ## train a small model by every method, at 2 to 64 workers, and test for the same accuracy
	@$(BIN)/python -m stages.preflight --pipeline $@
	@tools/show_experiments.sh $@
	@tools/keep_going.sh experiments/$@/dvc.yaml

time_to_accuracy: $(READY) ## train to the end on an emulated slow link: seconds and bytes to the accuracy of plain sums
	@$(BIN)/python -m stages.preflight --pipeline $@
	@tools/show_experiments.sh $@
	@tools/keep_going.sh experiments/$@/dvc.yaml

# Where the data of a set are missing its stages fail; what did run is summarised all the same.
study: $(READY) ## tune, compare and ablate the models over seeds; open results/study/study.html afterwards
	@$(BIN)/python -m stages.preflight --pipeline $@
	@tools/show_experiments.sh $@
	@tools/keep_going.sh experiments/$@/dvc.yaml summarise

# SYSTEM=dacnn runs one; its answers join those of the systems that were run before.
related: $(READY) ## the further systems of the literature, on equal terms; open results/related/related.md afterwards
	@$(BIN)/python -m stages.preflight --pipeline $@
	@tools/show_experiments.sh $@
	@targets=$$($(BIN)/python -m stages.related.targets $(if $(SYSTEM),--system "$(SYSTEM)")) && \
	    tools/keep_going.sh experiments/$@/dvc.yaml summarise -- $$targets

# Two files at a time, in a random order (pytest-randomly prints its seed; the same order again: `--randomly-seed=SEED`) but
# for those that take minutes, which come first (tests/conftest.py; xdist itself would begin with those of most tests).
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
test: $(READY) ## run the test suite: unit, parallel (two Horovod ranks), cluster (emulated nodes), pipeline (tiny dvc repros)
	@$(BIN)/python -m pytest tests $(PARALLEL)

soak: $(READY) ## the long forms of the reliability tests: kills, flipped bits, wrong files; results/soak.json has the counts
	@mkdir -p results
	@GQBENCH_SOAK=1 GQBENCH_SOAK_RESULT=results/soak.json $(BIN)/python -m pytest $(SOAK) -rs $(PARALLEL)

coverage: $(READY) ## line coverage of the one-process tests (TESTS=... for others); lists the files that are not wholly covered
	@$(BIN)/python -c 'import coverage' 2>/dev/null || $(BIN)/python -m pip --disable-pip-version-check install --quiet --requirement requirements-dev.txt
	@$(BIN)/python -m coverage run -m pytest -q $(or $(TESTS),tests/unit)
	@$(BIN)/python -m coverage report

lint: $(READY) ## ruff (style, format), strict mypy, bandit (security)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/bandit -q -c pyproject.toml -r horovod_gq pipelines stages

audit: $(READY) ## look the pinned packages up among the known vulnerabilities (pip-audit; needs the network)
	@$(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check install -q pip-audit==2.10.1
	@$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --desc off

format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

api: $(READY) ## list the public names of horovod_gq and their signatures (horovod_gq/public_api.txt)
	@$(BIN)/python -m tools.public_api

deps: $(READY) ## write the code dependencies of every DVC stage from what its module imports
	@$(BIN)/python -m tools.dependencies

picture: $(READY) ## draw docs/architecture.svg from the packages and their docstrings
	@$(BIN)/python -m tools.architecture

tables: $(READY) ## write the tables of README and docs/results from reference/, and draw the headline picture
	@$(BIN)/python -m tools.pages
	@$(BIN)/python -m tools.headline

docs: ## build the docs site in build/site (a warning or a dead link is an error)
	@tools/docs.sh "$(PYTHON)"

ui: $(READY) ## open the MLflow store on http://127.0.0.1:5000 (PORT=... for another port)
	@tools/ui.sh $(or $(PORT),5000)

server: $(READY) ## an MLflow server with PostgreSQL and an artifact store, on http://127.0.0.1:5000 (docs/mlflow.md)
	@$(BIN)/python -c 'import psycopg' 2>/dev/null || $(BIN)/python -m pip --disable-pip-version-check install --quiet --requirement requirements-server.txt
	@tools/server.sh

bench: $(READY) ## micro-benchmarks: codec and training step, printed as ratios
	@$(BIN)/python -m benchmarks.codec
	@$(BIN)/python -m benchmarks.step
	@$(BIN)/python -m benchmarks.training

reference: ## for maintainers: make the results of this checkout the committed ones
	@tools/make_reference.sh

wheel: $(READY) ## build the plugin's sdist and wheel into dist/ (tools/try_wheel.sh installs and tries both)
	@$(BIN)/python -m tools.wheel dist

clean: ## remove .venv, checkpoints, prepared data and caches (results/, mlflow.db and the wheel cache stay)
	rm -rf $(VENV) checkpoints data .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
