# Everything a contributor runs. `make test` in a fresh clone sets up .venv first.
#   make test PYTEST_ARGS="-x -q tests/unit/core"      other arguments for pytest
#   make setup PYTHON=python3.12                       another interpreter

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-bench
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# One stamp for each state of the machine: when R or SuiteSparse is installed later, setup runs again.
HAVE := $(if $(shell command -v R),-r)$(if $(wildcard /usr/include/suitesparse/cholmod.h),-cholmod)
STAMP := $(VENV)/.ready$(HAVE)

# Small dense algebra is faster on one thread, and the numbers do not depend on the machine's cores.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

PYTEST_ARGS ?= --doctest-modules --doctest-glob=README.md interlace README.md tests parity

.PHONY: setup demo test lint format parity bench bench-save bench-compare bench-growth bench-peers docs dist-check clean

setup: $(STAMP)

$(STAMP): pyproject.toml .ci/optional_requirements.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "interlace needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --editable ".[bobyqa]" --group dev
	@$(BIN)/python .ci/optional_requirements.py | while read -r line; do \
	    test -z "$$line" || $(PIP) install $$line || echo "setup: going on without $$line (could not be installed)"; \
	done
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m parity demo

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(STAMP)
	$(BIN)/python -m parity report

# LARGE=1 adds what takes minutes or gigabytes.
BENCH_ARGS ?= -m "$(if $(LARGE),large or not large,not large)"

bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks $(BENCH_ARGS) --benchmark-sort=name --benchmark-columns=min,median,iqr,rounds

bench-save: $(STAMP)
	$(BIN)/python -m benchmarks.compare save

bench-compare: $(STAMP)
	$(BIN)/python -m benchmarks.compare check

bench-growth: $(STAMP)
	$(BIN)/python -m benchmarks.growth $(if $(LARGE),--large)

# The peers live in an environment of their own, so that their pins cannot disturb the development one.
#   make bench-peers PEERS_ARGS="--quick"
bench-peers: $(STAMP)
	test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade "pip>=25.1"
	$(PEERS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --editable .
	@for peer in $$($(BIN)/python -m benchmarks.peers --list); do \
	    $(PEERS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install $$peer || echo "bench-peers: going on without $$peer"; \
	done
	$(PEERS_VENV)/bin/python -m benchmarks.peers $(PEERS_ARGS)

# Pages generated for functions that are documented no longer would be warnings, which are errors.
docs: $(STAMP)
	rm -rf docs/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site
	@echo "docs: open site/index.html"

# The wheel is built from the sdist, so that the sdist is known to be complete.
dist-check: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(BIN)/python .ci/dist_check.py dist

# Keeps .venv: remove it by hand to start anew.
clean:
	rm -rf build dist site docs/generated parity/out benchmarks/out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find interlace tests parity benchmarks r_reference docs -name __pycache__ -type d -prune -exec rm -rf {} +
