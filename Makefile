# Each target does the set-up it lacks.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint types bench clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: $(INSTALLED) ## make .venv and install the package with its development extra

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## eight methods on long-tailed digits, about 3 minutes on a CPU; table and figure in runs/demo/
	$(BIN)/semscale demo

test: $(INSTALLED) ## the test suite without its long tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-all: $(INSTALLED) ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ""

lint: $(INSTALLED) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(INSTALLED) ## types alone
	$(BIN)/mypy

bench: $(INSTALLED) ## time a step of the feature pool at the size of ImageNet-LT against full recomputations
	$(BIN)/python -m semscale_pl.benchmarks.pool_step

clean: ## remove the virtual environment and the caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
