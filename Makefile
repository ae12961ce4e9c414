# `make` lists what there is. All of it lives in .venv, made from constraints.txt on first use.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if "$$p" -c '$(FITS)' 2>/dev/null; then echo "$$p"; break; fi; done)
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test emulator portability margins bench bench-full validation experiments claims gpu-check lint docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|'

demo: $(VENV)/.ready  ## run the workflow on the embedded demo (about two minutes)
	@$(BIN)/snakemake --no-hooks
	@printf '\n'; cat results/demo/rounds.txt; printf '\nReport: results/demo/report.html\n'

test: $(VENV)/.ready-dev  ## run the tests, two files at a time; PYTEST_ARGS='-m "not slow"' for the quick ones
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 10 --durations-min 3 $(PYTEST_ARGS)

EMULATOR := PYTHONPATH=$(CURDIR)/tests/emulator

emulator: $(VENV)/.ready-dev  ## run the tests that need a GPU on an emulated one: all checked, then in another order of threads
	@$(EMULATOR) $(BIN)/python -m pytest -m "gpu or emulator" $(PYTEST_ARGS) tests
	@$(EMULATOR) EMULATOR_CHECK=0 EMULATOR_ORDER=shuffle $(BIN)/python -m pytest -m gpu $(PYTEST_ARGS) tests

portability: $(VENV)/.ready-dev  ## run the tests that can tell processors apart as the oldest one would
	@$(BIN)/python -m benchmarks.configurations tests plain $(PYTEST_ARGS)

margins: $(VENV)/.ready-dev  ## list assertions whose bounds are nearly used up, here or as on the oldest processor
	@rm -rf .margins.*
	@for name in "this processor" plain; do \
		PYTHONPYCACHEPREFIX=$$PWD/.margins.cache $(BIN)/python -m benchmarks.configurations run "$$name" -- \
			$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -p tests.margins -m "not slurm" \
			-o enable_assertion_pass_hook=true --margins "$$PWD/.margins.$${name// /-}" $(PYTEST_ARGS) >&2 || true; done
	@$(BIN)/python -m tests.margins .margins.this-processor .margins.plain

bench: $(VENV)/.ready-dev  ## speed and memory, beside RELION where it is installed (docs/measurements/performance.md)
	@$(BIN)/python -m benchmarks.performance

bench-full: $(VENV)/.ready-dev  ## the same at more sizes
	@$(BIN)/python -m benchmarks.performance --full

validation: $(VENV)/.ready-dev  ## compare with RELION, real images and the truth; write docs/measurements/accuracy.md (about 10 minutes)
	@$(BIN)/python -m benchmarks.validation

experiments: $(VENV)/.ready-dev  ## planted errors, found or not; PART chooses cases (docs/measurements/experiments.md)
	@status=0; $(BIN)/python -m experiments run $(or $(PART),table) || status=$$?; \
		$(BIN)/python -m experiments table; exit $$status

claims: $(VENV)/.ready-dev  ## which pages of measurements are what their results give, and which are older than the code
	@$(BIN)/python -m benchmarks.claims

gpu-check: $(VENV)/.ready-dev  ## what a GPU gives: tests, then times, in twelve minutes at most; results/gpu-check
	@$(BIN)/python -m benchmarks.gpu

lint: $(VENV)/.ready-dev  ## check style, types and the workflow
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check --compact-diff Snakefile workflow rules
	@$(BIN)/snakemake --lint

docs: $(VENV)/.ready-docs  ## build the documentation as a site, with the Python reference: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Documentation: site/index.html"

clean:  ## remove results, logs, the site and caches; keep .venv
	rm -rf results logs site .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "cryocore needs Python 3.11, 3.12 or 3.13 with its venv module, and none was found." >&2; \
		echo "Install one (Debian, Ubuntu: apt-get install python3.11-venv), or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) for development (a few minutes, once)"
	@$(PIP) --editable '.[dev,learn,slurm]'
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) for the documentation (a minute or two, once)"
	@$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/.ready
