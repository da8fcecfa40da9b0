# Needs Python 3.11 or newer, git and make; everything else is installed into .venv at the tested versions.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo smollm2 test test-smollm2 lint types imports pytest schema screenshots clean

VENV := .venv
BIN := $(VENV)/bin
FIND_PYTHON = for p in python3 python3.11 python3.12 python3.13 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; exit; fi; done
PYTHON ?= $(shell $(FIND_PYTHON))

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.runtime ## open the explorer on the bundled model; without a terminal, search and print the circuit
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/circuit-tui; else exec $(BIN)/circuit-tui find; fi

smollm2: $(VENV)/.runtime ## open the explorer on SmolLM2-135M, fetched the first time; without a terminal, search and print the circuit
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/circuit-tui explore --model smollm2-135m; else exec $(BIN)/circuit-tui find --model smollm2-135m; fi

test: lint types imports pytest ## everything that must pass

lint: $(VENV)/.dev ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev .typecheck/circuit_tui ## strict types
	$(BIN)/mypy

imports: $(VENV)/.dev ## who may import whom
	$(BIN)/lint-imports

# One torch thread for each of the two workers: more only fight over the cores. Whole files go to a worker, in the order of
# tests/conftest.py, so that what a file has opened is opened once.
pytest: $(VENV)/.dev ## the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -q

test-smollm2: $(VENV)/.dev ## fetch SmolLM2-135M and compare every number on it with plain Hugging Face
	$(BIN)/circuit-tui find --model smollm2-135m --memory
	OMP_NUM_THREADS=2 $(BIN)/pytest -q tests/smollm2

schema: $(VENV)/.runtime ## write core/circuits/circuit.schema.json anew from the models
	$(BIN)/python -m circuit_tui.core.circuits.schema

screenshots: $(VENV)/.runtime ## take the pictures in docs/screens anew
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/screenshots.py

clean: ## forget the environment and what was built
	rm -rf $(VENV) .typecheck build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; name one with make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The constraints file pins torch in the same command that resolves everything else, so no other build is ever fetched.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.runtime

.typecheck/circuit_tui:
	@mkdir -p $@.new && ln -sfn ../../core $@.new/core && ln -sfn ../../tui $@.new/tui && mv $@.new $@
