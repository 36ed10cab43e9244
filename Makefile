# Two commands do all the set-up: `make bench` and `make test`. PYTHON names the interpreter
# (3.11 or newer); PIP_ARGS is passed to pip, for a mirror or a CPU-only torch index.
PYTHON ?= python3
PIP_ARGS ?=
BENCH_ARGS ?=
TEST_ARGS ?= -n auto --dist loadfile
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help bench test slow check format clean

help:
	@echo "make bench   run the benchmarks on the virtual bench and write the HTML report"
	@echo "make test    run the tests"
	@echo "make slow    run the slow tests too"
	@echo "make check   style, types, import contract"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

bench: $(VENV)/.installed
	$(BIN)/python -m pytest benchmarks $(BENCH_ARGS)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests $(TEST_ARGS)

slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --slow $(TEST_ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .hil .benchmarks .pytest_cache .mypy_cache .ruff_cache
