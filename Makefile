# A fresh machine needs Python 3.11+, make and a package index; everything else is installed into .venv.
PYTHON ?= python3
PORT ?= 5006
# pip's own options (an index, a cache) come from the user's pip settings.
PIP = .venv/bin/python -m pip --disable-pip-version-check
BIN = .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo serve store test lint accept clean

help:
	@echo "make demo    install, build the digits store, serve the app (PORT=5006, BUILD_ONLY=1 stops before serving)"
	@echo "make test    install, run every test (browser tests need Chromium)"
	@echo "make lint    ruff, mypy, import contracts"
	@echo "make accept  what is too long for the tests: kills, faults, big stores"
	@echo "make clean   remove .venv and caches, never a store"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "VATUN needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (about 7 GB, most of it torch) ..."
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

.venv/.tested: .venv/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[test,dev]'
	@touch $@

# Bare doit builds the digits store and is done in a second when nothing changed.
store: .venv/.installed
	$(BIN)/doit

demo: store
ifndef BUILD_ONLY
	@$(MAKE) --no-print-directory serve
endif

serve: .venv/.installed
	@echo "VATUN is starting at http://localhost:$(PORT)/app (Ctrl-C stops it)"
	@$(BIN)/python -m panel serve app --plugins app.routes --port $(PORT) --warm --args stores/digits

test: .venv/.tested
	$(BIN)/python -m pytest -m "not accept and not gpu"

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

accept: .venv/.tested
	$(BIN)/python -m pytest -m accept

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
