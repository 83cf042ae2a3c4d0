# Everything a developer types. `make PYTHON=python3.12 VENV=/somewhere test` works too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.tunesmith-installed
WORKERS ?= 2

.PHONY: help venv demo test check format keys faults

help:
	@echo "make venv     a virtual environment with Tunesmith and its tools in $(VENV)"
	@echo "make demo     train, adapt, merge and judge a tiny vision-language model (minutes, CPU)"
	@echo "make test     every test; PYTEST='-k loss' picks some"
	@echo "make faults   hurt runs at random points in every way there is (some 20 minutes); FAULTS='--quick' for a part"
	@echo "make check    lint, format, types and house rules"
	@echo "make format   let ruff mend what it can"
	@echo "make keys     write config/fields.json and docs/settings.md from the settings sections"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tunesmith needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]' --constraint constraints.txt
	touch $@

# One thread a worker: the models in tests are tiny, and threads that wait for each other cost more than they give.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST)

faults: $(INSTALLED)
	$(BIN)/python -m tests.faults $(FAULTS)

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

keys: $(INSTALLED)
	$(BIN)/python -m tunesmith.config.describe
	$(BIN)/python -m tunesmith.config.reference docs

demo: $(INSTALLED)
	$(BIN)/python -m examples.demo
