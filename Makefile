# Targets of the project; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test check bench size fmt clean soak fuzz mutants

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.run ## Start everything: private Valkey and PostgreSQL, the service, the sync worker
	@exec $(BIN)/python -m devserver.run

test: .venv/.test ## Run the tests, but for those that take long
	$(BIN)/python -m pytest -m "not long"

check: .venv/.dev ## Run what CI runs: format, lint, types, all tests with coverage, a short soak and fuzz
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest --cov --cov-fail-under=95

bench: .venv/.dev ## Measure speed and the limits of the stack; ONLY=read: one part; AGAINST=COMMIT: compare with it
	$(BIN)/python -m bench$(if $(AGAINST),.against $(AGAINST), $(ONLY))

size: ## Count the lines of code of each package
	$(PYTHON) -m bench.size

soak: .venv/.dev ## Kill processes and cut networks under load for MINUTES=10; count lost writes
	$(BIN)/python -m tests.faults.chaos $(or $(MINUTES),10) $(SEED)

fuzz: .venv/.dev ## Send requests generated from the OpenAPI document for MINUTES=10
	$(BIN)/python -m tests.fuzz $(or $(MINUTES),10) $(SEED)

mutants: .venv/.dev ## Remove each safeguard in turn and check that its test fails
	$(BIN)/python -m tests.faults.mutants

fmt: .venv/.dev ## Format the code and apply the fixes of ruff
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## Remove everything built; keep the data in .data
	rm -rf .venv .coverage* .mypy_cache .schemathesis .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.dev: requirements-test.txt
.venv/.run .venv/.test .venv/.dev: .venv/.%: requirements-%.txt requirements.txt requirements-run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch .venv/.run $(if $(filter %.dev,$@),.venv/.test) $@
