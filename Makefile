# The commands of the README. Everything is installed into $(VENV), from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MEMBERS := -e packages/records -e packages/core -e packages/data -e packages/align -e packages/parallel -e ".[all,dev]"

.PHONY: help setup reproduce test lint docs bench wheels

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## a virtual environment with all packages, editable

$(VENV)/.ready: constraints.txt pyproject.toml $(wildcard packages/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt $(MEMBERS)
	touch $@

reproduce: setup  ## raw documents to a chat model and its report, under runs/reproduce
	$(BIN)/internlm2 reproduce $(ARGS)

# One thread a process, and two files at a time: many tests start several processes.
test: setup  ## every test
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: setup  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## the site, into build/site; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -c docs . build/site

bench: setup  ## the benchmarks that there are; each is a script to run by itself
	@find tests/benchmarks -name "bench_*.py" | sort

wheels: setup  ## one wheel a package, into dist/
	for member in packages/records packages/core packages/data packages/align packages/parallel .; do $(BIN)/pip wheel -q --no-deps -w dist $$member; done
