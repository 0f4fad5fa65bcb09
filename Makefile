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
# Left empty, local/venv.sh looks for one.
PYTHON ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
UP := $(VENV)/requirements-up.lock
STAMP := $(VENV)/requirements-dev.lock
CODE := app.py chalicelib infra local benchmarks tests
PIP_COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

export API_PORT AWS_PORT

.PHONY: help up smoke test test-fast chaos bench lint style types imports format openapi configuration \
	console lint-console screenshots cost lock venv venv-up provision deploy verify destroy token \
	terraform workflows clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Settings: STAGE=$(STAGE) API_PORT=$(API_PORT) AWS_PORT=$(AWS_PORT)" \
		"OWNER=$(OWNER) SCOPES=$(SCOPES) PYTHON=... PYTEST_ARGS=..."

# What `make up` and the deployments run on, and all. Each is the copy of a lock, so a checkout that
# only touches the file does not rebuild.
$(UP): requirements-up.lock
	@bash local/venv.sh $< '$(PYTHON)'

$(STAMP): requirements-dev.lock $(UP)
	@bash local/venv.sh $< '$(PYTHON)'

venv-up: $(UP) ## Make the part of .venv that `make up` and deployments run on

venv: $(STAMP) ## Make all of .venv (every command makes what it needs by itself)

up: $(UP) ## Run the whole platform on this machine until Ctrl-C
	@exec $(RUN) -m local.up

smoke: $(UP) ## Send one of everything to what `make up` runs and follow it to its end
	@$(RUN) -m local.smoke

FAST := not emulator and not slow
# Every file that can have a test of that tier, as to collect the others takes 20 s: all others use
# neither a mark nor the stores' `Backend`.
REST = $(shell grep -rlE 'Backend\b|mark\.(emulator|slow)' tests --include='test_*.py')

# First what needs no emulator, then the rest with one for each process, the longest files first, as
# tests/conftest.py orders them.
test: lint ## Everything: lint, types, import rules and every tier of tests
	$(RUN) -m pytest -n auto --dist loadfile -m "$(FAST)" tests $(PYTEST_ARGS)
	$(RUN) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not ($(FAST))" \
		$(REST) $(PYTEST_ARGS)

test-fast: $(STAMP) ## The tests that need no emulator
	$(RUN) -m pytest -n auto --dist loadfile -m "$(FAST)" tests $(PYTEST_ARGS)

chaos: $(STAMP) ## 10,000 events under faults: lost 0, doubled 0 (CHAOS_EVENTS, CHAOS_SEED, CHAOS_WITHOUT)
	@$(RUN) -m tests.chaos.run

bench: $(STAMP) ## Measure; print tables; write benchmarks/results/
	$(RUN) -m benchmarks

lint: $(STAMP) ## Style, types, import rules and workflows
	@$(MAKE) -j2 --output-sync=target types style imports workflows lint-console

style: $(STAMP)
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

# npm checks each package against the hash in package-lock.json, and runs none of their scripts.
console/node_modules: console/package-lock.json
	cd console && npm ci --ignore-scripts --no-audit --no-fund && touch node_modules

console: console/node_modules ## Build what /console serves from console/ (needs Node.js)
	cd console && npm run --silent build

# Who only deploys or changes Python needs no Node.js: what is served is committed.
lint-console:
	@if command -v npm >/dev/null && $(MAKE) console/node_modules >/dev/null 2>&1; then \
		cd console && npm run --silent lint; \
	else echo "no npm here, or no registry: console/ is not checked"; fi

screenshots: $(STAMP) ## Write pictures of the console to screenshots/ (needs Chromium)
	SCREENSHOTS=$(CURDIR)/screenshots $(RUN) -m pytest -q tests/platform/test_console.py -k pictures
	mkdir -p docs/images
	cp screenshots/overview-light.png screenshots/event-dark.png docs/images/

format: $(STAMP) ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

openapi: $(STAMP) ## Write docs/openapi.json from the routes
	$(RUN) -m infra.write_openapi

configuration: $(STAMP) ## Write the tables of docs/configuration.md from the code
	$(RUN) -m infra.write_configuration

cost: $(STAMP) ## Write the tables of docs/cost.md from the newest counts and the price list
	$(RUN) -m benchmarks.write_cost

# The largest first: the others take its versions.
lock: $(STAMP) ## Renew requirements-dev.lock, requirements-up.lock and requirements.lock
	$(PIP_COMPILE) --output-file requirements-dev.lock requirements-dev.txt
	$(PIP_COMPILE) -c requirements-dev.lock --output-file requirements-up.lock requirements-up.txt
	$(PIP_COMPILE) -c requirements-dev.lock --output-file requirements.lock requirements.txt

provision: $(UP) ## Create or update the stateful resources of STAGE
	$(RUN) -m infra.provision --stage $(STAGE)

deploy: provision ## provision, then chalice deploy, then what Chalice cannot set, for STAGE
	$(RUN) -m infra.deploy --stage $(STAGE)

verify: $(UP) ## Check STAGE where it is deployed, and send it one event (TOKEN=...); see docs/aws.md
	@$(RUN) -m infra.verify --stage $(STAGE)

destroy: $(UP) ## Remove STAGE (asks first; keeps the data of prod unless told twice)
	$(RUN) -m infra.destroy --stage $(STAGE)

terraform: $(UP) ## Write STAGE as a Terraform root module to build/terraform/STAGE
	$(RUN) -m infra.terraform --stage $(STAGE)

token: $(UP) ## Issue an API token: make token STAGE=dev OWNER=me SCOPES=admin
	@$(RUN) -m infra.issue_token --stage $(STAGE) --owner $(OWNER) --scopes $(SCOPES)

clean: ## Remove caches, .venv and the local platform's kept data
	@if [ -e .local/env ]; then echo "make up is running here: stop it first" >&2; exit 1; fi
	rm -rf $(VENV) .local build .chalice/deployments .chalice/deployed/local.json \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis console/node_modules screenshots
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +
