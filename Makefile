# make demo   the whole pipeline once, on real photographs, on this machine
# make test   all tests
# make lint   style, types, import rules
# make chaos  hundreds of kills, full disks and failing networks; ten minutes
# make bench NAME=store   one benchmark, beside its peers, in an environment of its own
# make clean  removes what these made, but not the environments

PYTHON ?= python3
PIP_FLAGS := --quiet --disable-pip-version-check
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv-bench/.ready

.PHONY: demo test lint chaos bench clean

demo: $(READY)
	$(BIN)/samdistill demo --root demo-root

test: $(READY)
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# CHAOS_SEED and CHAOS_KILLS choose; see docs/reliability.md.
chaos: $(READY)
	$(BIN)/python -m tests.chaos.run

bench: $(BENCH_READY)
	.venv-bench/bin/python benchmarks/bench_$(NAME).py $(ARGS)

# The first make of a fresh clone downloads about 3 GB; later ones find the marker and go on.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up .venv (a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

$(BENCH_READY): benchmarks/requirements.txt
	@echo "Setting up .venv-bench (a few minutes, once)"
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install $(PIP_FLAGS) --requirement benchmarks/requirements.txt
	.venv-bench/bin/pip install $(PIP_FLAGS) --no-deps --editable .
	@touch $@

clean:
	rm -rf demo-root build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
