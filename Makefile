# Every target sets up what it lacks: a virtual environment in .venv with the package and its development extra.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed

.PHONY: help setup demo test test-all lint format bench clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv and install the package, editable, under constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY) ## train eight methods on long-tailed real digits, five seeds each (CPU, about three minutes)
	$(BIN)/semscale demo

test: $(READY) ## run the tests without the long ones
	$(BIN)/python -m pytest

test-all: $(READY) ## run all tests
	$(BIN)/python -m pytest -m ''

lint: $(READY) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## time a step of the pool against recomputing every scale
	$(BIN)/python -m semscale_pl.benchmarks.pool_step

clean: ## remove caches and the virtual environment; results in runs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
