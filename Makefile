# Needs Python 3.11 or newer with pip, and make. Everything goes into $(VENV), once; it is redone when
# pyproject.toml or constraints.txt change.
#
#   PYTHON    the interpreter that makes the environment      make demo PYTHON=python3.12
#   PIP_ARGS  more arguments for pip                          make demo PIP_ARGS="--index-url …"
#   BACKEND   the backend the demo uses                       make demo BACKEND=llama_cpp
#   ARGS      more arguments for pytest or the benchmark      make test ARGS="-k bridge"
#   WORKERS   test processes; 0 runs in this one (for pdb)    make test WORKERS=0

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PIP_ARGS ?=
BACKEND ?=
ARGS ?=

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
LLAMA_CPP := $(VENV)/.installed-llama-cpp
# -qq keeps errors and drops warnings: a mirror's grumbling is no concern of who wants a demo.
PIP_INSTALL = $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo setup llama-cpp test slow lint format bench clean distclean

help: ## list these targets
	@echo "Counterpoint: make TARGET"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1          \2/; s/^  \(.\{11\}\) */  \1/p' Makefile

demo: $(RUNTIME) $(if $(filter llama_cpp,$(BACKEND)),$(LLAMA_CPP)) ## set up if need be, then watch a small and a large model play together
	@$(BIN)/counterpoint demo $(if $(BACKEND),--backend $(BACKEND))

setup: $(DEV) ## set up everything that developing needs

llama-cpp: $(LLAMA_CPP) ## add the backend that runs quantised GGUF files by llama.cpp (compiled once)

# One torch thread per worker, or they fight for the cores. A worker costs about five seconds (each imports torch), so
# WORKERS=0 is faster for a few tests.
test: $(DEV) ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) $(ARGS)

slow: $(DEV) ## the tests that need real models or minutes
	$(BIN)/pytest -q -m slow $(ARGS)

lint: $(DEV) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## let ruff format the code and repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## measure (minutes; real models)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove caches and build outputs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## … and the environment
	rm -rf $(VENV)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Counterpoint needs Python 3.11 or newer, and there is no '$(PYTHON)' here." >&2; \
	  echo "hint: name one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' || { \
	  echo "Counterpoint needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "hint: name a newer one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "hint: some systems keep Python's venv module in a package of its own (python3-venv)" >&2; exit 1; }

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing dependencies, about 310 MB, once (gigabytes where pip's torch brings CUDA) …"
	@$(PIP_INSTALL) -e '.[eval]'
	@touch $@
	@echo "installed"

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing dependencies and tools, about 800 MB, once (gigabytes where pip's torch brings CUDA) …"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(RUNTIME) $@
	@echo "installed"

# pip keeps what it has compiled, so that another environment on this machine has it in seconds.
$(LLAMA_CPP): pyproject.toml constraints.txt | $(RUNTIME)
	@echo "compiling llama-cpp-python, about five minutes, once (needs a C++ compiler) …"
	@$(PIP_INSTALL) -e '.[llama-cpp]'
	@touch $@
	@echo "installed"
