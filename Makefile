# make demo: restore the clip in the repository.   make test: run the whole test suite.
# make docs: the manual.   make wheel: what is released.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# On a CPU build of torch: docs/deepinv.rst says why so, and why not on a newer Python.
DEEPINV := 'deepinv; python_version < "3.12"' 'einops; python_version < "3.12"' 'h5py; python_version < "3.12"' 'natsort; python_version < "3.12"' 'torchvision==0.16.2; python_version < "3.12"'

.PHONY: demo test docs wheel clean

demo: .venv/installed
	$(BIN)/visionxl demo --output demo-output --overwrite

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

docs: .venv/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

wheel: .venv/installed-dev
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

.venv/created:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv .venv
	$(PIP) torch
	touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/created pyproject.toml constraints.txt
	$(PIP) --editable ".[dev]"
	-$(PIP) --no-deps $(DEEPINV) # its tests are skipped where it cannot be had
	touch $@ .venv/installed

clean:
	rm -rf .venv demo-output docs/_build dist
