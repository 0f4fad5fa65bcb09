# The only list of commands. `make` or `make help` prints it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STAGE ?= dev
OWNER ?= me
SCOPES ?= admin
API_PORT ?= 8000
AWS_PORT ?= 4566
# Left empty, the newest-tested interpreter that runs is taken; `make PYTHON=... up` names one.
PYTHON ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
STAMP := $(VENV)/requirements-dev.lock
CODE := app.py chalicelib infra local benchmarks tests
PIP_COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

export API_PORT AWS_PORT

.PHONY: help up smoke test test-fast chaos bench lint types imports format openapi configuration \
	cost lock venv provision deploy destroy token terraform workflows clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Settings: STAGE=$(STAGE) API_PORT=$(API_PORT) AWS_PORT=$(AWS_PORT)" \
		"OWNER=$(OWNER) SCOPES=$(SCOPES) PYTHON=... PYTEST_ARGS=..."

# The stamp is a copy of the lock, so a checkout that only touches the file does not rebuild.
# pyenv leaves shims on the PATH that fail when called, so a candidate must run, not just exist.
$(STAMP): requirements-dev.lock
	@if [ -x $(RUN) ] && cmp -s $< $@ && $(RUN) -c '' 2>/dev/null; then touch $@; exit 0; fi; \
	found=; \
	for p in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3); do \
		if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then found=$$p; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No usable Python. Eventline needs Python 3.11 or newer with its venv module" >&2; \
		echo "(Debian and Ubuntu: apt-get install python3-venv)." >&2; \
		echo "Tried: $(or $(PYTHON),python3.11 python3.12 python3.13 python3). Found:" \
			"$$(python3 --version 2>&1 || true)" >&2; \
		echo "Name one with: make PYTHON=/path/to/python3.11 $(firstword $(MAKECMDGOALS))" >&2; \
		exit 1; \
	fi; \
	start=$$SECONDS; \
	echo "==> $(VENV): $$("$$found" --version), $$(grep -c == $<) packages from $<" >&2; \
	"$$found" -m venv --clear $(VENV); \
	if [ -t 2 ]; then tty=1; else tty=0; fi; \
	$(RUN) -m pip --disable-pip-version-check install --require-hashes --no-input \
		--progress-bar off -r $< 2>&1 \
	| awk -v tty=$$tty -v all="$$(grep -c == $<)" -v out=$(VENV)/install.log ' \
		{ print > out } \
		/^Collecting / { seen++; \
			if (tty) printf "\r\033[K    %d of %d: %s", seen, all, $$2; \
			else if (seen % 20 == 0) printf "    %d of %d\n", seen, all; fflush() } \
		/^Installing collected/ { printf (tty ? "\r\033[K" : "") "    installing" (tty ? "" : "\n"); \
			fflush() } \
		/^ERROR|^error|THESE PACKAGES/ { print (tty ? "\n" : "") $$0 } \
		END { if (tty) printf "\r\033[K" }' >&2 \
	|| { echo "    the whole output is in $(VENV)/install.log" >&2; exit 1; }; \
	cp $< $@; \
	echo "==> $(VENV) is ready ($$((SECONDS - start)) s)" >&2

venv: $(STAMP) ## Make .venv from requirements-dev.lock (the other commands do it by themselves)

up: $(STAMP) ## Run the whole platform on this machine until Ctrl-C
	@exec $(RUN) -m local.up

smoke: $(STAMP) ## Send one of everything to what `make up` runs and follow it to its end
	@$(RUN) -m local.smoke

FAST := not emulator and not slow

# First what needs no emulator, then the rest with one for each process, the longest files first.
test: lint ## Everything: lint, types, import rules and every tier of tests
	$(RUN) -m pytest -n auto --dist loadfile -m "$(FAST)" tests $(PYTEST_ARGS)
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not ($(FAST))" tests/chaos \
		tests/platform/test_schemathesis.py tests/platform tests $(PYTEST_ARGS)

test-fast: $(STAMP) ## The tests that need no emulator
	$(RUN) -m pytest -n auto --dist loadfile -m "$(FAST)" tests $(PYTEST_ARGS)

chaos: $(STAMP) ## 10,000 events under faults: lost 0, doubled 0 (CHAOS_EVENTS, CHAOS_SEED, CHAOS_WITHOUT)
	@$(RUN) -m tests.chaos.run

bench: $(STAMP) ## Measure; print tables; write benchmarks/results/
	$(RUN) -m benchmarks

lint: $(STAMP) types imports workflows ## Style, types, import rules and workflows
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	@if command -v terraform >/dev/null; then \
		echo terraform fmt -check -diff infra/terraform; terraform fmt -check -diff infra/terraform; \
	else echo "no terraform here: the format of infra/terraform is not checked"; fi

types: $(STAMP) ## Types only (mypy --strict)
	$(BIN)/mypy

imports: $(STAMP) ## Import rules only
	$(BIN)/lint-imports --no-cache

# The schemas come with the package; neither asks the network.
workflows: $(STAMP) ## GitHub workflows only: the published schema, and zizmor
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --no-progress --quiet --strict-collection --persona pedantic .github

format: $(STAMP) ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

openapi: $(STAMP) ## Write docs/openapi.json from chalicelib/openapi
	$(RUN) -m infra.write_openapi

configuration: $(STAMP) ## Write the tables of docs/configuration.md from the code
	$(RUN) -m infra.write_configuration

cost: $(STAMP) ## Write the tables of docs/cost.md from the newest counts and the price list
	$(RUN) -m benchmarks.write_cost

lock: $(STAMP) ## Renew requirements.lock and requirements-dev.lock
	$(PIP_COMPILE) --output-file requirements.lock requirements.txt
	$(PIP_COMPILE) --output-file requirements-dev.lock requirements-dev.txt

provision: $(STAMP) ## Create or update the stateful resources of STAGE
	$(RUN) -m infra.provision --stage $(STAGE)

deploy: provision ## provision, then chalice deploy, then what Chalice cannot set, for STAGE
	$(RUN) -m infra.deploy --stage $(STAGE)

destroy: $(STAMP) ## Remove STAGE (asks first; keeps the data of prod unless told twice)
	$(RUN) -m infra.destroy --stage $(STAGE)

terraform: $(STAMP) ## Write STAGE as a Terraform root module to build/terraform/STAGE
	$(RUN) -m infra.terraform --stage $(STAGE)

token: $(STAMP) ## Issue an API token: make token STAGE=dev OWNER=me SCOPES=admin
	@$(RUN) -m infra.issue_token --stage $(STAGE) --owner $(OWNER) --scopes $(SCOPES)

clean: ## Remove caches, .venv and the local platform's kept data
	@if [ -e .local/env ]; then echo "make up is running here: stop it first" >&2; exit 1; fi
	rm -rf $(VENV) .local build .chalice/deployments .chalice/deployed/local.json \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +
