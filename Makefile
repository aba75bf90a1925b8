# Everything is set up in .venv by itself; `make` alone lists the targets.

PYTHON ?= python3
PYTEST_ARGS ?=
FAULTS_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SEEKDB_14 := pylibseekdb==1.4.0.post1

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench lint format lock audit screenshots

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the Python for .venv, PYTEST_ARGS='-k demo' goes to pytest,"
	@echo "  FAULTS_ARGS='--short' to make faults,"
	@echo "  DEMO_PORT=8027 is the demo's page, DEMO_DATABASE=mysql://user:password@host:port its database,"
	@echo "  BENCH_ARGS=--quick is a short benchmark, BENCH_ARGS='--part acks --server OceanBase' one part of it."

demo: $(VENV)/.installed-demo ## A page like a Slack channel on an embedded OceanBase with live traffic
	@$(BIN)/python -m bot demo

test: $(VENV)/.installed-dev $(VENV)/.installed-seekdb-1.4 lint ## Lint, types and all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

faults: $(VENV)/.installed-dev $(VENV)/.installed-seekdb-1.4 ## Every fault many times over: wrong, double and lost closes, in one table
	@$(BIN)/python -m tests.faults $(FAULTS_ARGS)

lint: $(VENV)/.installed-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Pin anew, with hashes, what the bot runs on (requirements.lock); takes two minutes
	@PYTHON=$(PYTHON) bash .ci/lock

audit: ## Ask the Python advisory database about what is pinned
	@PYTHON=$(PYTHON) bash .ci/audit

screenshots: $(VENV)/.installed-dev ## The README's pictures, from a demo that runs
	@$(BIN)/python -m tests.support.take_screenshots

bench: $(VENV)/.installed-dev $(VENV)/.installed-mycli ## What the bot takes, beside other ways to see sessions; writes BENCHMARKS.md
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed. Name one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/.made
	@echo "Installing what the demo needs into $(VENV), about 150 MB the first time"
	@$(PIP) install --editable ".[demo]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo "Installing what the tests need into $(VENV), about 250 MB the first time"
	@$(PIP) install --editable ".[dev]"
	@touch $@ $(VENV)/.installed-demo

# The second kernel for the tests; the two versions cannot share an environment.
$(VENV)/.installed-seekdb-1.4: Makefile | $(VENV)/.made
	@$(PIP) install --target $(VENV)/seekdb-1.4 --upgrade --no-deps --only-binary :all: $(SEEKDB_14) && touch $@ || \
	  echo "There is no $(SEEKDB_14) for this platform: the tests on it are left out."

# A client to compare with, in an environment of its own: it wants other versions of what the bot uses.
$(VENV)/.installed-mycli: Makefile | $(VENV)/.made
	@$(BIN)/python -m venv $(VENV)/mycli && $(VENV)/mycli/bin/python -m pip --disable-pip-version-check install mycli \
	  && touch $@ || echo "mycli could not be installed: it is left out of the benchmark."
