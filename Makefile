# make demo   official weights on two real clips, one table        make test   all tests
# make lint   ruff and mypy        make docs   HTML documentation        make clean  remove .venv and caches
PYTHON ?= python3.11
CONSTRAINTS ?= constraints.txt
PIP_OPTIONS ?=
PYTEST_OPTIONS ?= -n 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_OPTIONS) $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: demo test lint format docs assets clean

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) tests

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs-installed
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build

# Official weights and clips for the golden tests; the demo fetches them by itself.
assets: $(VENV)/.installed
	$(BIN)/python tools/demo.py --fetch-only

# torch first and alone: with the constraint it is taken as found, and what depends on it does not pull another build.
# mmagic without its dependencies: see setup.cfg.
$(VENV)/.installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps mmagic==1.2.0
	touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
