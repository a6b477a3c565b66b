# make help lists what there is to do. Everything lives in .venv; images and engine are set up by
# `wsrunner setup --with-deps`, which leaves alone what is there.

PYTHON ?= python3
LANGUAGES ?=
TEST_LANGUAGES := python javascript c cpp bash ruby perl lua php go java typescript coffeescript groovy
# What tests use beside Docker, as command:package.
TEST_TOOLS := curl:curl redis-server:redis-server chromium:chromium node:nodejs npm:npm docker-compose:docker-compose openssl:openssl runsc:runsc
ARGS ?=
REPLICAS ?= 3
# Looked up when needed: `up` may have to install it first.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
# Local base images hold the Python of this machine's Debian, whichever one the tools here run on.
WHEELS_PYTHON := $(shell /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.10.1
CYCLONEDX_VERSION := 7.5.0

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: help run check test languages up down lint lint-js types format lock audit sbom licences clean web web-if-node wheels test-tools compose-tool node-tools
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/.run ## set everything up and serve on http://127.0.0.1:8001 (LANGUAGES="python go" …)
	@$(MAKE) --no-print-directory web-if-node
	@$(BIN)/wsrunner setup --with-deps $(LANGUAGES)
	@exec $(BIN)/wsrunner serve

test: .venv/.dev test-tools ## run all tests (ARGS="-k images" …)
	@$(MAKE) --no-print-directory web-if-node
	@$(BIN)/wsrunner setup --with-deps $(TEST_LANGUAGES)
	@exec $(BIN)/python -m pytest $(ARGS)

check: lint types ## the quick checks: lint, types, all tests that need no engine, Redis or browser (ARGS=-x …)
	@exec $(BIN)/python -m pytest -m "not docker and not redis and not browser" $(ARGS)

languages: .venv/.dev ## build and try all languages (LANGUAGES="ruby nim" …), for docs/languages.md
	@$(BIN)/wsrunner setup --with-deps $(LANGUAGES)
	@exec $(BIN)/python -m tests.languages $(ARGS) $(LANGUAGES)

web: static/dist/bundle.js ## bundle the playground's editor and terminal (needs Node and npm)

up: .env compose-tool ## start Redis, a balancer and replicas with compose (REPLICAS=3)
	@if grep -q '^BUILD_NETWORK=none' .env; then $(MAKE) --no-print-directory wheels; fi
	@$(COMPOSE) up --build --detach --scale wsrunner=$(REPLICAS)
	@echo "serving on PUBLISH (127.0.0.1:8001 if unset); the access token is WSRUNNER_TOKEN in .env"

down: ## drain and remove what up started
	@$(COMPOSE) down

lint: .venv/.dev ## check style and format, and the types of JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory lint-js

# Where there is no Node the pages are not looked at; CI may not leave that out.
lint-js: node-tools
	@if command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory static/node_modules/.package-lock.json && \
	  node static/node_modules/eslint/bin/eslint.js --config static/src/eslint.config.mjs static examples && \
	  for part in tsconfig tsconfig.client tsconfig.node; do \
	    node static/node_modules/typescript/bin/tsc --project static/$$part.json || exit; \
	  done; \
	else \
	  echo "no Node and npm here; JavaScript is not checked" >&2; test -z "$$CI"; \
	fi

types: .venv/.dev ## check types
	$(BIN)/mypy

format: .venv/.dev ## put the code into the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: .venv/.uv ## pin the newest packages, with hashes, in requirements*.lock
	$(BIN)/uv pip compile $(LOCK) --group build --group tools -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) --group build --group tools --group dev -c requirements.lock \
	  -o requirements-dev.lock

audit: .venv/.uv node-tools ## look up known faults of all locked packages (asks PyPI's and npm's advisories)
	$(BIN)/uv tool run pip-audit==$(PIP_AUDIT_VERSION) --disable-pip --require-hashes -r requirements.lock
	cd static && npm audit

sbom: .venv/.run .venv/.uv ## write the Python packages of this environment, with licences, as CycloneDX to build/sbom.json
	@mkdir -p build
	@$(BIN)/uv tool run --from cyclonedx-bom==$(CYCLONEDX_VERSION) cyclonedx-py environment \
	  --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json $(BIN)/python
	@echo "wrote build/sbom.json"

licences: .venv/.dev ## list the licences of all locked packages, Python's and the browser's
	@$(BIN)/python -m tests.licences

clean: ## remove what make and the tools made here (images stay)
	rm -rf static/dist static/node_modules .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

LOCK := pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
  --no-annotate --custom-compile-command "make lock"

# Debian's python3 may come without ensurepip; then `-m venv` leaves half an environment behind.
.venv/bin/python:
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "$(PYTHON) lacks the venv module; install it: apt-get install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	  echo "installing python3-venv"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get -qq update && apt-get -qq install --yes --no-install-recommends python3-venv >/dev/null; \
	fi
	@rm -rf .venv
	@$(PYTHON) -m venv .venv

# The build backend is in the lock file too, so nothing is fetched without a hash.
.venv/.run: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing packages into .venv"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run
	@echo "installing development packages into .venv"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.uv: | .venv/bin/python
	@$(PIP) uv==$(UV_VERSION)
	@touch $@

# What compose.yml must be told about this machine; kept until it is deleted.
.env: | .venv/.run
	@$(BIN)/wsrunner setup --with-deps $(LANGUAGES)
	@set -e; umask 077; trap 'rm -f .env.new' EXIT; \
	$(BIN)/wsrunner images services --with-deps >.env.new; \
	if grep -q '^BASE_IMAGE=wsrunner/' .env.new; then echo BUILD_NETWORK=none >>.env.new; fi; \
	echo "DOCKER_GID=$$(stat -c %g /var/run/docker.sock)" >>.env.new; \
	$(BIN)/python -c 'import secrets; print("WSRUNNER_TOKEN=" + secrets.token_hex(32))' >>.env.new; \
	mv .env.new .env

# Packages for an image that is built without an index; the list keeps what pip would leave out on
# this Python and the image's would miss.
wheels: build/wheels/.done-$(WHEELS_PYTHON)
build/wheels/.done-$(WHEELS_PYTHON): requirements.lock | .venv/bin/python
	@echo "downloading packages into build/wheels"
	@rm -rf build/wheels && mkdir -p build
	@sed 's/ ; .* \\$$/ \\/' requirements.lock >build/wheels.txt
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-input --no-deps \
	  --require-hashes --only-binary=:all: $(if $(WHEELS_PYTHON),--python-version $(WHEELS_PYTHON)) \
	  --requirement build/wheels.txt --dest build/wheels
	@touch $@

test-tools:
	@$(call install-missing,$(TEST_TOOLS),tests that need these are skipped)

node-tools:
	@$(call install-missing,node:nodejs npm:npm,JavaScript is not checked without these)

compose-tool:
	@docker compose version >/dev/null 2>&1 || \
	{ $(call install-missing,docker-compose:docker-compose,compose is missing); }

# $(call install-missing,COMMAND:PACKAGE …,CONSEQUENCE)
define install-missing
missing=; for tool in $(1); do \
  command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; \
done; \
if [ -z "$$missing" ]; then exit 0; fi; \
if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
  echo "$(2); install them:$$missing" >&2; exit 0; \
fi; \
echo "installing$$missing"; \
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
apt-get -qq update && apt-get -qq install --yes --no-install-recommends $$missing >/dev/null
endef

static/dist/bundle.js: $(wildcard static/src/*) static/page/keys.js static/node_modules/.package-lock.json
	@echo "bundling editor and terminal into static/dist"
	@cd static && node src/build.mjs

# npm writes this file; scripts of packages are not run.
static/node_modules/.package-lock.json: static/package.json static/package-lock.json
	@echo "installing browser packages into static/node_modules"
	@cd static && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# The pages work without the bundle, so its absence never stops anything.
web-if-node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory web || \
	    echo "no bundle; the playground shows a plain text area" >&2; \
	else \
	  echo "no Node here; the playground shows a plain text area (make web bundles the editor)" >&2; \
	fi
