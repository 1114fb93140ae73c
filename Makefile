# Every target sets up what it needs in .venv by itself; a second call starts at once.
#
#     make demo     segment real images with the embedded model
#     make test     the whole test suite
#     make quick    the test suite without its slow tests
#     make check    format, lint, types, import rules
#     make bench    measure speed
#     make label-studio   a Label Studio server that the tests can start, in .venv-label-studio (1 GB, 3 minutes)
#     make label-studio-ml-1, make label-studio-ml-2   servers of label-studio-ml 1.0.9 and 2.x, likewise; the
#                         latter comes from GitHub, as it is not on PyPI
#
# Options: PYTHON=python3.12   the Python to make .venv from (3.11 to 3.13)
#          PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
#                              where the package index has no CPU build of torch, this takes one without CUDA
#          DEMO=folder         where `make demo` writes

SHELL := bash
PIP_ARGS ?=
DEMO ?= demo
LABEL_STUDIO ?= label-studio==1.23.2
# What 1.0.9 imports and does not ask for is named beside it.
LABEL_STUDIO_ML_1 ?= label-studio-ml==1.0.9 redis rq setuptools<81
LABEL_STUDIO_ML_2 ?= git+https://github.com/HumanSignal/label-studio-ml-backend
BIN := .venv/bin

## The first of these that really runs: a name on the PATH may be an empty shim.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help venv demo test quick check format bench label-studio label-studio-ml-1 label-studio-ml-2 clean

help:
	@sed -n 's/^#  \{0,1\}//p' Makefile | sed '/^$$/d'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "got no Python between 3.11 and 3.13 on the PATH; install one, or name it: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv, which takes some minutes the first time"
	$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into .venv, which takes some minutes the first time"
	$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.core

venv: .venv/.dev

demo: .venv/.core
	$(BIN)/sam-core demo --out $(DEMO)

test: .venv/.dev
	$(BIN)/python -m pytest

quick: .venv/.dev
	$(BIN)/python -m pytest -m "not slow"

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev
	$(BIN)/python -m tests.bench

.venv-label-studio/.installed: Makefile
	@test -n "$(PYTHON)" || { echo "got no Python between 3.11 and 3.13 on the PATH; install one, or name it: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv-label-studio
	@echo "installing into .venv-label-studio, which takes some minutes the first time"
	.venv-label-studio/bin/python -m pip install -qq --disable-pip-version-check '$(LABEL_STUDIO)'
	@touch $@

label-studio: .venv-label-studio/.installed

.venv-label-studio-ml-%/.installed: Makefile
	@test -n "$(PYTHON)" || { echo "got no Python between 3.11 and 3.13 on the PATH; install one, or name it: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv-label-studio-ml-$*
	.venv-label-studio-ml-$*/bin/python -m pip install -qq --disable-pip-version-check $(LABEL_STUDIO_ML_$*:%='%')
	@touch $@

label-studio-ml-1 label-studio-ml-2: label-studio-ml-%: .venv-label-studio-ml-%/.installed

clean:
	rm -rf .venv .venv-label-studio .venv-label-studio-ml-1 .venv-label-studio-ml-2 .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist
