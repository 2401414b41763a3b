# make demo: restore the clip in the repository.   make test: run the whole test suite.
# make docs: the manual.   make wheel: what is released.
# make test-oldest: the tests with the oldest versions that pyproject.toml allows.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# On a CPU build of torch: docs/deepinv.rst says why so, and why not on a newer Python.
DEEPINV := 'deepinv; python_version < "3.12"' 'einops; python_version < "3.12"' 'h5py; python_version < "3.12"' 'natsort; python_version < "3.12"' 'torchvision==0.16.2; python_version < "3.12"'

.PHONY: demo test test-oldest docs wheel clean

demo: .venv/installed
	$(BIN)/visionxl demo --output demo-output --overwrite

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# A warning is no error there, for old packages warn of new ones.
test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest -o filterwarnings=default --numprocesses auto --maxprocesses 4

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

.venv-oldest/installed: pyproject.toml constraints.txt tests/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/pins.txt
	grep -E '^(pytest|pytest-xdist|hypothesis|PyYAML|hatchling)==' constraints.txt >> .venv-oldest/pins.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv-oldest/pins.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-oldest demo-output docs/_build dist
