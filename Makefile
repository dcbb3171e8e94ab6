# Every verb sets up .venv by itself, from python3 >= 3.11 and the package index; the second time takes seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A file stays with one worker, for what its tests share; tests/conftest.py puts the longest first.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
export PYTHONPATH :=
# Bytecode is kept: without it every start compiles 4,000 modules of the dependencies, for half a minute.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit integration wheel check format bench live torture simulate docs record-work clean

help: ## Print the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Install everything into .venv

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("curatord needs Python 3.11 or newer; set PYTHON=... to one") if sys.version_info < (3, 11) else None'
	@echo "Setting up .venv (about 6 GB, mostly torch; once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --requirement requirements.lock
	@# Without what it asks for: it pins an older datasets, and its loader, which the tests use, needs little.
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps torchtitan==0.3.0
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

demo: $(READY) ## Curate real documents from this machine's Python packages
	@$(BIN)/python -m tools.demo

test: unit integration wheel ## Run all tests; CI runs these and `check`

unit: $(READY) ## Run the tests that need no broker
	@$(PYTEST) --ignore=tests/integration

integration: $(READY) ## Run the tests on a real broker
	@$(PYTEST) tests/integration

wheel: $(READY) ## Build the wheel, install it in a clean environment, run it
	@$(BIN)/python -m tools.try_wheel

check: $(READY) ## Lint, format, types, and the rules of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q tests/test_tidy.py
	@$(BIN)/mypy

format: $(READY) ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## Measure against peers; results in benchmarks/results
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint requirements.lock --group bench
	@$(BIN)/python -m benchmarks

live: $(READY) ## Train a tiny model from a live topic with three rewards in turn, and draw what it learns: live/live.png
	@$(BIN)/python -m examples.train_live

torture: $(READY) ## Kill three brokers in turn, then break two daemons for an hour, also behind workers: FAULTS and SEED say how
	@$(BIN)/python -m tests.integration.failover --more --seed $(or $(SEED),0)
	@$(BIN)/python -m tests.integration.torture --faults $(or $(FAULTS),300) --seed $(or $(SEED),0)
	@$(BIN)/python -m tests.integration.torture --faults $(or $(FAULTS),300) --seed $(or $(SEED),0) --workers 3

simulate: $(READY) ## Run the pipeline over the memory broker with seeded faults, and properties on new examples
	@$(BIN)/python -m pytest -q tests/simulation --simulations=1000
	@$(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=random

docs: $(READY) ## Write the pages that are made from the code
	@$(BIN)/python -m tools.write_docs

record-work: $(READY) ## Count the work of each stage anew, for tests/pipeline_work.json
	@$(BIN)/python -m tests.pipeline_work

clean: ## Remove what the verbs made
	rm -rf $(VENV) demo live .mypy_cache .pytest_cache .ruff_cache .hypothesis
