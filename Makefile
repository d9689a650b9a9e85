# Each target does the set-up it lacks.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Of the reproduce- targets: paper, reduced or demo, and the number of worker processes (1 where one GPU does the work).
PROFILE ?= demo
JOBS ?= 2
# Of the tests: processes, each with whole files.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile
TABLES := table1 table2 table3 calibration subsets ablations appendix-d7 appendix-h2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint types bench bench-measure clean $(TABLES:%=reproduce-%)

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-22s %s\n' "$$name" "$$text"; done

setup: $(INSTALLED) ## make .venv and install the package with its development extra

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## eight methods on long-tailed digits, about 3 minutes on a CPU; table and figure in runs/demo/
	$(BIN)/semscale demo

test: $(INSTALLED) ## the test suite without its long tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-all: $(INSTALLED) ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m ""

lint: $(INSTALLED) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(INSTALLED) ## types alone
	$(BIN)/mypy

bench: $(INSTALLED) ## the pool against recomputation, the callback's share of a step, memory formats; about a minute
	$(BIN)/semscale bench pool_step
	$(BIN)/semscale bench step_overhead
	$(BIN)/semscale bench memory_format

bench-measure: $(INSTALLED) ## semscale measure on a million features of 512 dimensions against a numpy loop; minutes, 2 GB of disk
	$(BIN)/semscale bench measure --repeats 3

reproduce-table1: ## Table 1: class accuracy against n, E_n, S', W and S; PROFILE=paper|reduced|demo, JOBS=N
reproduce-table2: ## Table 2: ImageNet-LT and iNaturalist 2018
reproduce-table3: ## Table 3: CE and DSB-CE on balanced ImageNet and CIFAR-100, eight backbones
reproduce-calibration: ## published figures of CIFAR-100-LT, ResNet-32, against ours, DSB beside them
reproduce-subsets: ## App. H3: accuracy on the thirds of the classes by semantic scale
reproduce-ablations: ## alpha, n, W, pool, normalization and so on, one choice at a time
reproduce-appendix-d7: ## App. D7: remote sensing, accuracy and confusion matrices
reproduce-appendix-h2: ## App. H2: DSB beside difficulty-based weights, with model bias

$(TABLES:%=reproduce-%): reproduce-%: $(INSTALLED)
	$(BIN)/semscale table experiments/$(subst -,_,$*).yaml profile=$(PROFILE) jobs=$(JOBS)

clean: ## remove the virtual environment and the caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
