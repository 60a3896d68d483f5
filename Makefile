.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv and install what is locked, when the lock changed

$(INSTALLED): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.13 ...")'
	@test -x $(BIN)/pip || { echo "Making .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing what requirements-dev.lock names"
	@awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements-dev.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock
	@touch $@

.PHONY: demo
demo: install ## Render a service into build/, start it and print what to try
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/demo.py $(ARGS)

.PHONY: test
test: install ## Run all tests of the template (ARGS="-k name" for some)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest --numprocesses=2 $(ARGS)

.PHONY: test-fast
test-fast: install ## Run the tests that neither install nor run a service
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest --numprocesses=2 -m "not slow" $(ARGS)

.PHONY: conformance
conformance: install ## Prove the contract on the default render; SERVICE=<description> audits any service
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests $(BIN)/python -m conformance \
		$(if $(SERVICE),--audit --service $(SERVICE)) $(ARGS)

.PHONY: bench
bench: install ## Measure what the chassis costs beside bare FastAPI and peers (ARGS=--quick for a look)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks $(ARGS)

.PHONY: check
check: install ## Lint, format and types of the template's own code and of the code in template/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cd tests && ../$(BIN)/mypy --package conformance

.PHONY: format
format: install ## Format the code and fix what the linter can fix
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

.PHONY: lock
lock: install ## Renew all lock files (ARGS=--upgrade for the newest versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(ARGS) --group dev --output-file requirements-dev.lock pyproject.toml
	$(BIN)/python scripts/lock.py $(ARGS)
	@sed '/^{%/d' template/requirements.lock.jinja > .venv/service.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(ARGS) --constraints .venv/service.lock --output-file benchmarks/requirements.lock benchmarks/requirements.in

.PHONY: clean
clean: ## Remove what was built and installed here
	rm -rf build .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache
