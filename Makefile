# Needs Python >= 3.11 with venv, make, and a package registry; everything else is set up here.
PYTHON ?= python3
WORKDIR ?= runs/demo
CONFIG ?= configs/tiny_cpu.py
# Huge pages for glibc's malloc: a training step on CPU took 0.75-0.8 of the time with them.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
TEST_WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
FLAGS := --config=$(CONFIG) --workdir=$(WORKDIR)

.PHONY: help demo test test-slow test-install coverage docs colab lint format clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       record, synthesize, train (SFT, then GRPO), evaluate; writes $(WORKDIR)/report.html"
	@echo "make test       the tests that take seconds;  make test-slow  those that take minutes"
	@echo "make coverage   the same with lines counted;       make docs      the site, into site/"
	@echo "make colab      run the notebooks and save them with their outputs;  make test-install  the wheel"
	@echo "make lint       ruff check and format check;  make format     let ruff rewrite"
	@echo "make clean      remove $(VENV) and caches (runs/ stays)"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  f"tooltrain needs Python 3.11 or later, got {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): setup.py | $(VENV)/bin/python
	@echo "== installing tooltrain into $(VENV) (1-3 minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(INSTALLED_DEV): setup.py | $(VENV)/bin/python
	@echo "== installing tooltrain and its test tools into $(VENV) (1-3 minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(INSTALLED)

demo: $(INSTALLED)
	@echo "== 1/5 record: real Booking.com responses into $(WORKDIR)/cache"
	$(BIN)/python -m tooltrain.cli.record --source=complexfuncbench $(FLAGS)
	@echo "== 2/5 synthesize: workflows, traces, queries, tokenizer"
	$(BIN)/python -m tooltrain.cli.synthesize $(FLAGS)
	@echo "== 3/5 train_sft: imitate gold traces"
	$(BIN)/python -m tooltrain.cli.train_sft $(FLAGS)
	@echo "== 4/5 train_grpo: roll out in the environment, learn from the graduated reward"
	$(BIN)/python -m tooltrain.cli.train_grpo $(FLAGS)
	@echo "== 5/5 evaluate: held-out traces, before and after GRPO"
	$(BIN)/python -m tooltrain.cli.evaluate $(FLAGS)
	@echo "== done: open $(WORKDIR)/report.html"

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -m slow

# The wheel into empty environments of Python 3.11 and 3.12, if they are here: minutes, 3 GB.
test-install: $(INSTALLED_DEV)
	$(BIN)/python -m pytest tests/packaging_test.py -m "slow or not slow"

# In one process a worker: what they count is put together. The report names uncovered lines.
coverage: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered

docs: $(INSTALLED_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

colab: $(INSTALLED_DEV)
	$(BIN)/python -m colab.build

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist site *.egg-info .coverage* .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
