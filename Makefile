# make train: the main job.  make test: what CI runs.  Both build .venv when it is missing or old.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: help train test coverage test-all lint docs clean

help:
	@echo "make train      train LeNet on the embedded MNIST, evaluate and export it (20 seconds)"
	@echo "make test       lint, then the quick tests (8 minutes on two cores)"
	@echo "make coverage   the same, and the share of lines and branches that the tests run"
	@echo "make test-all   coverage, then the slow tests (three quarters of an hour)"
	@echo "make lint       ruff and mypy"
	@echo "make docs       run the tutorials, remake their outputs and figures, write the lists (minutes)"
	@echo "make clean      remove .venv and caches; output/ stays"
	@echo "ARGS=... adds flags: make train ARGS='--epochs 1', make test ARGS=tests/models"
	@echo "PYTHON=... picks the Python of a new .venv: make PYTHON=python3.12 train"
	@echo "Each tool lists its flags: .venv/bin/python tools/train.py --help"

train: .venv/.ready
	$(PY) tools/train.py $(ARGS)

# Two processes with one thread each; the tests of one file run in one process.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test: lint
	$(PYTEST) -m "not slow" $(ARGS)

# Slower than test; counts the processes that the tools start, too.
coverage: lint
	$(PYTEST) -m "not slow" --cov --cov-report=term $(if $(ARGS),,--cov-fail-under=90) $(ARGS)

test-all: coverage
	$(PYTEST) -m slow $(ARGS)

lint: .venv/.ready-test
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: .venv/.ready-docs
	$(PY) docs/make.py $(ARGS)
	$(PY) docs/lists.py

# The stamp is written last, so that an interrupted installation is repeated.
.venv/.ready: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else f"Python {v[0]}.{v[1]}; expected 3.10 to 3.13: make PYTHON=python3.12 ...")'
	rm -rf .venv
	$(PYTHON) -m venv .venv
	@echo "installing requirements.txt into .venv (Paddle is 200 MB; a minute or two)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.ready-test: .venv/.ready pyproject.toml
	@echo "installing the test tools into .venv"
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv/.ready-docs: .venv/.ready pyproject.toml
	@echo "installing what the figures and the notebook need into .venv"
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[vision,notebook]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
