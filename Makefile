# make train: the main job.   make test: what CI runs.   Both build .venv when it is missing or old.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: help train test coverage test-all lint docs clean

help:
	@echo "make train      train LeNet on the embedded MNIST, evaluate, export (about 2 minutes)"
	@echo "make test       lint and the quick tests (minutes)"
	@echo "make coverage   the same with the share of lines and branches that they run"
	@echo "make test-all   that, and the slow tests (half an hour)"
	@echo "make lint       ruff and mypy"
	@echo "make docs       run the tutorials and remake their outputs and figures (minutes)"
	@echo "make clean      remove .venv and caches (output/ stays)"

train: .venv/.ready
	$(PY) tools/train.py $(ARGS)

# Two processes, each with one thread: the tests of one file stay together.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

test: lint
	$(PYTEST) -m "not slow" $(ARGS)

# Slower than test: lines and branches, those of the tools' own processes too.
coverage: lint
	$(PYTEST) -m "not slow" --cov --cov-report=term $(if $(ARGS),,--cov-fail-under=90) $(ARGS)

test-all: coverage
	$(PYTEST) -m slow $(ARGS)

lint: .venv/.ready-test
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: .venv/.ready-docs
	$(PY) docs/make.py $(ARGS)

# The stamp is written last, so that an installation broken off starts anew.
.venv/.ready: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else f"Python {v[0]}.{v[1]} came, 3.10 to 3.13 was expected: make PYTHON=python3.12 ...")'
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
