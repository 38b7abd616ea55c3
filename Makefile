# A fresh Debian 12 or Raspberry Pi OS has python3, venv and make; everything else comes from here.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install lock demo test coverage check bench faults soak format openapi clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(UV) requirements.lock pyproject.toml
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable . uv==$(UV_VERSION)
	@touch $@

install: $(STAMP)  ## everything from the lock file into .venv

lock: $(UV)  ## pin the dependencies anew
	VIRTUAL_ENV=$(VENV) $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --all-extras --group dev --custom-compile-command "make lock" pyproject.toml --upgrade --output-file requirements.lock

demo: $(STAMP)  ## the whole system live on this machine
	$(VENV)/bin/xom demo

test: $(STAMP)  ## every test; installs Mosquitto where it can
	scripts/test

coverage: $(STAMP)  ## the same, half as fast, with the lines that no test reaches
	scripts/test --cov --cov-report=term

check: $(STAMP)  ## lint, types, architecture
	scripts/check

bench: $(STAMP)  ## every figure beside its limit
	scripts/bench

faults: $(STAMP)  ## every fault case, longer than make test runs it; one table
	scripts/faults

soak: $(STAMP)  ## hours of kills, power cuts and chaos (XOM_SOAK_HOURS); ends by itself
	scripts/soak

format: $(STAMP)  ## let ruff write the layout
	$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .

openapi: $(STAMP)  ## write docs/openapi.json anew
	$(VENV)/bin/python -m hub.api.openapi > docs/openapi.json

clean:  ## remove what the commands above made
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache
