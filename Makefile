# Two commands set everything up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
LEARN2LEARN ?= .venv-learn2learn

.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE  # the tests start many processes: each would compile every module again
.PHONY: help demo test slow check docs test-learn2learn

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP) ## environment, install, then a whole search on the embedded glyphs (about 4 minutes)
	$(BIN)/psst search --config quickstart --output runs/quickstart --workers 2

test: $(STAMP) ## environment, install, then the tests (about 4 minutes)
	$(BIN)/python -m pytest -n auto --dist loadfile

slow: $(STAMP) ## the tests that take minutes; SLOW="-k kill" for some of them
	$(BIN)/python -m pytest -m slow $(SLOW) -n auto --dist worksteal --durations 12

check: $(STAMP) ## format, lint, types, layers and the size of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/house.py

docs: $(STAMP) ## the pages as a site in build/site; a link that leads nowhere is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m mkdocs build --strict --quiet

test-learn2learn: $(STAMP) ## the adapter against learn2learn itself, in an environment of its own (a minute; a C compiler)
	$(BIN)/python tests/learn2learn/environment.py $(LEARN2LEARN)
	$(LEARN2LEARN)/bin/python -m pytest tests/learn2learn
