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
# Of gpu-check: cuda or cpu, the minutes of a call, and where its results lie; what is there is not done again.
DEVICE ?= cuda
MINUTES ?= 9
CHECK ?= runs/gpu-check
CHECKED_TESTS ?= tests/cuda
CHECKED_TABLE ?= experiments/calibration.yaml profile=paper
CHECKED_NETWORKS ?= $(if $(filter cuda,$(DEVICE)),resnet32 resnet50,resnet32)
HERE := PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$$PYTHONPATH $(PYTHON) -m
# Of test-extras: what pyproject.toml offers beside the development extra, the trainers of others, and the tests of these.
EXTRAS := open_clip,finetune,hf,hdf5,sweepers
STOCK := transformers accelerate
OF_EXTRAS ?= tests/models/test_open_clip_backbone.py tests/models/test_adapters.py tests/training/test_adapters.py \
  tests/data/test_saved_datasets.py tests/data/test_packed.py tests/data/test_data_configs.py tests/test_configs.py \
  tests/features/test_formats.py tests/features/test_shards.py tests/training/test_sweep.py tests/cli/test_embed.py \
  tests/measuring/test_class_weights.py
TABLES := table1 table2 table3 table4 table5 calibration subsets ablations appendix-d5 appendix-d7 appendix-h2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-extras lint types bench bench-measure embeddings gpu-check clean $(TABLES:%=reproduce-%)

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-22s %s\n' "$$name" "$$text"; done

setup: $(INSTALLED) ## make .venv and install the package with its development extra

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## nine methods on long-tailed digits, about 3 minutes on a CPU; table and figure in runs/demo/
	$(BIN)/semscale demo

test: $(INSTALLED) ## the test suite without its long tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-all: $(INSTALLED) ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m ""

test-extras: $(INSTALLED) ## install the optional packages too, and run the tests that are skipped without them
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,$(EXTRAS)]' $(STOCK)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "" -rs $(OF_EXTRAS)

lint: $(INSTALLED) ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(INSTALLED) ## types alone
	$(BIN)/mypy

bench: $(INSTALLED) ## the pool against recomputation, the callback's share of a step, memory formats, input; two minutes
	$(BIN)/semscale bench pool_step
	$(BIN)/semscale bench step_overhead
	$(BIN)/semscale bench memory_format
	$(BIN)/semscale bench input --augmentation all --size 5120

bench-measure: $(INSTALLED) ## semscale measure on a million features of 512 dimensions against a numpy loop; minutes, 2 GB of disk
	$(BIN)/semscale bench measure --repeats 3

# Needs no set-up: PYTHON has the libraries, this folder the package; the CUDA tests need pytest alone.
# Warnings of library versions that nobody has tried yet are none of their failures. A step that fails is done again by the
# next call and makes this one fail at its end. Exit code 3 of the table says that the time was over: the next call goes on.
gpu-check: JOBS = 8
gpu-check: ## CUDA tests, overhead and as many cells of the calibration as the time allows; DEVICE=cuda|cpu, MINUTES=9, JOBS=8
	@began=$$(date +%s); failed=0; mkdir -p $(CHECK); \
	if [ ! -e $(CHECK)/tests.txt ]; then \
	  SEMSCALE_TEST_DEVICE=$(DEVICE) $(HERE) pytest -W default -p no:cacheprovider -m cuda $(CHECKED_TESTS) \
	    >$(CHECK)/tests-failed.txt 2>&1 \
	    && mv $(CHECK)/tests-failed.txt $(CHECK)/tests.txt || failed=1; \
	  tail -n 3 $(CHECK)/tests*.txt; fi; \
	for network in $(CHECKED_NETWORKS); do [ -e $(CHECK)/overhead-$$network.json ] || { \
	  $(HERE) semscale_pl bench step_overhead --device $(DEVICE) --network $$network --json >$(CHECK)/overhead.part \
	    && mv $(CHECK)/overhead.part $(CHECK)/overhead-$$network.json && cat $(CHECK)/overhead-$$network.json || failed=1; }; done; \
	left=$$(awk "BEGIN {print ($(MINUTES) * 60 - ($$(date +%s) - $$began)) / 60}"); \
	case $$left in -*|0) left=0.01;; esac; \
	$(HERE) semscale_pl table $(CHECKED_TABLE) trainer=$(if $(filter cuda,$(DEVICE)),gpu,cpu) jobs=$(JOBS) minutes=$$left \
	  runs=$(CHECK)/cells out=$(CHECK)/table pack=$(CHECK)/results.tar.gz; code=$$?; \
	if [ $$code = 3 ]; then echo "The time is over: make gpu-check goes on."; code=0; fi; \
	[ $$code = 0 ] && exit $$failed || exit $$code

# Kept below SEMSCALE_CACHE or the user's cache; what is there is not made again, and a stopped call goes on. Small images are
# shown whole: a central crop, meant for photographs, would cut into them. Memory format and batch are the fastest on a CPU.
EMBEDDINGS := $${SEMSCALE_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/semscale_pl}/embeddings
EMBEDDED ?= rsscn7_64 mnist cifar100
EMBED_WITH := backbone=efficientnet_lite0 pretrained=true backbone.channels_last=true batch_size=32 dataset.image_size=96 dataset.crop_share=1
SEMSCALE ?= $(BIN)/semscale
embeddings: $(INSTALLED) ## features of CIFAR-100, RSSCN7 and MNIST by EfficientNet-Lite0; about an hour of one core
	for name in $(EMBEDDED); do \
	  $(SEMSCALE) embed dataset=$$name $(EMBED_WITH) out=$(EMBEDDINGS)/$$name-efficientnet_lite0 || exit $$?; done

reproduce-table1: ## Table 1: class accuracy against n, E_n, S', W and S; PROFILE=paper|reduced|demo, JOBS=N
reproduce-table2: ## Table 2: ImageNet-LT and iNaturalist 2018
reproduce-table3: ## Table 3: CE and DSB-CE on balanced ImageNet and CIFAR-100, eight backbones
reproduce-table4: ## Table 4: retrieval on CUB-2011 and Cars196, NormSoftmax, SoftTriple and their DSB forms
reproduce-table5: ## Table 5: retrieval with long-tailed CIFAR-100
reproduce-calibration: ## published figures of CIFAR-100-LT, ResNet-32, against ours, DSB beside them
reproduce-subsets: ## App. H3: accuracy on the thirds of the classes by semantic scale
reproduce-ablations: ## alpha, n, W, pool, normalization and so on, one choice at a time
reproduce-appendix-d5: ## App. D5: retrieval on Cars196-LT, mini-ImageNet and CIFAR-100
reproduce-appendix-d7: ## App. D7: remote sensing, accuracy and confusion matrices
reproduce-appendix-h2: ## App. H2: DSB beside difficulty-based weights, with model bias

$(TABLES:%=reproduce-%): reproduce-%: $(INSTALLED)
	$(BIN)/semscale table experiments/$(subst -,_,$*).yaml profile=$(PROFILE) jobs=$(JOBS)

clean: ## remove the virtual environment and the caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
