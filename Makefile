# Every target makes .venv on first use; nothing else is needed than Python 3.11 or newer, git and make.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# The tests start hundreds of processes; each finds the project compiled, whatever the caller's shell says.
unexport PYTHONDONTWRITEBYTECODE
# Tests of a file stay together as long as that goes, so that what they share is made once.
IN_TWO := --numprocesses 2 --dist worksteal
# The ignored folders hold none of them, and importing these takes seconds.
UNIT := --ignore=tests/e2e --ignore=tests/ray -m 'not ray and not e2e and not slow'
# What has tests of its own: `make quick PKG=sweeps` runs tests/orchestrator/sweeps.
PACKAGES := $(notdir $(patsubst %/,%,$(filter-out %/__pycache__/,$(wildcard tests/orchestrator/*/)))) search_spaces trainables

.PHONY: demo quick test test-unit test-long test-cluster test-chaos lint lint-style lint-types lint-imports lint-examples format bench ablations studies reference clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev,bench]'
	$(BIN)/python -W ignore -m compileall -qq -j 0 $(BIN)/../lib || true  # as pip would, but on every core
	touch $@

demo: .venv/installed  ## the whole story on made-up recordings; prints where the page is
	$(BIN)/orchestrator demo

quick: .venv/installed  ## after each change: all tests that take less than a fifth of a second; PKG=sweeps: of one package
	$(if $(filter-out $(PACKAGES),$(PKG)),$(error PKG=$(PKG): no such package; allowed: $(PACKAGES)))
	$(PYTEST) -q $(UNIT:slow'=slow and not heavy') \
	  $(if $(PKG),$(wildcard tests/orchestrator/$(PKG) tests/$(PKG)),$(IN_TWO)) $(PYTEST_ARGS)

# Two files at a time, in the order of their names: the longest is among the first ones.
test: .venv/installed  ## unit tests, Ray on one shared cluster, short end-to-end runs
	$(PYTEST) -q $(UNIT) $(IN_TWO) $(PYTEST_ARGS)
	$(PYTEST) -q -m '(ray or e2e) and not slow' --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=10 $(PYTEST_ARGS)

test-unit: .venv/installed  ## no network, no Ray, about three minutes
	$(PYTEST) -q $(UNIT) $(IN_TWO) $(PYTEST_ARGS)

test-long: .venv/installed  ## what is too long for each change: trials with two workers, a store that is lost
	FULL_TESTS=1 $(PYTEST) -q -m 'slow or full' --durations=10 $(PYTEST_ARGS)

test-cluster: .venv/installed  ## clusters: of this machine, over SSH, on an EC2 endpoint, watched by Prometheus; half an hour, root
	TEST_CLUSTER=1 FULL_TESTS=1 $(PYTEST) -q -m 'cluster and not chaos' --durations=10 $(PYTEST_ARGS)

test-chaos: .venv/installed  ## 20 rounds in which everything dies once; those that passed are not run again (.chaos)
	CHAOS_ROUNDS=20 CHAOS_RECORD=$(CURDIR)/.chaos $(PYTEST) -q -m chaos -rA $(PYTEST_ARGS)

lint: lint-style lint-types lint-imports lint-examples  ## style, types, who may import whom, examples in docstrings

lint-style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: .venv/installed
	$(BIN)/mypy

lint-imports: .venv/installed
	$(BIN)/lint-imports

lint-examples: .venv/installed
	$(PYTEST) -q --doctest-modules orchestrator search_spaces trainables

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed  ## claims about speed, each a ratio measured in one interleaved run
	set -e; for script in benchmarks/*.py; do $(BIN)/python $$script $(BENCH_ARGS); done

ablations: .venv/installed  ## SleepMG's ablations on made-up recordings, with all figures; about half an hour
	$(BIN)/python benchmarks/studies/ablations.py $(ABLATIONS_ARGS)

studies: .venv/installed  ## what balance and gradient reversal do, over seeds; about ten minutes
	$(BIN)/python benchmarks/studies/balance.py $(STUDIES_ARGS)

reference: .venv/installed  ## docs/: the tables of all keys and metrics, from the code
	$(BIN)/python docs/make_reference.py

clean:
	rm -rf .venv runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
