# `make help` lists the targets. Everything runs in .venv, which `make setup` builds from nothing but Python 3.11 and gcc.
# The package is src/; its import name is penstock. `.path/penstock` shows it to protoc and the type checker.
SHELL   := /bin/bash -o pipefail
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PROTOS  := $(sort $(wildcard protos/penstock/v1/*.proto))
SERVICE := $(shell grep -l '^service' $(PROTOS))
DATA    ?= .demo/data
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup tools demo up test check protos protos-check bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

.path/penstock:
	mkdir -p .path && ln -sfn ../src $@

setup: $(VENV)/.done .path/penstock ## build .venv with everything that the other targets need

tools: ## install what a few tests need besides (the Go toolchain, on Debian as root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends golang-go golang-google-grpc-dev \
	    golang-github-golang-protobuf-1-5-dev protoc-gen-go protoc-gen-go-grpc

demo: setup ## train, publish and serve a model on real scans, move an alias under load, stop
	cd scripts && ../$(BIN)/python -m demo --data-dir ../$(DATA)

up: setup ## serve what the demo published until Ctrl-C
	$(BIN)/penstock up --data-dir $(DATA)

test: setup ## run all tests
	$(BIN)/pytest -q

check: setup protos-check ## style, types, layering, and whether the stubs are up to date
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	cd scripts && MYPYPATH=../.path ../$(BIN)/mypy --config-file ../pyproject.toml -p demo -p bench -p rollouts
	$(BIN)/lint-imports
	$(BIN)/buf lint && $(BIN)/buf format -d --exit-code

protos: setup ## regenerate src/v1 from protos/
	rm -f src/v1/*_pb2*
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=.path --mypy_out=quiet:.path $(PROTOS)
	$(BIN)/python -m grpc_tools.protoc -I protos --grpc_python_out=.path --mypy_grpc_out=quiet:.path $(SERVICE)

protos-check: setup ## fail when src/v1 is not what protos/ makes
	$(BIN)/python scripts/protos_check.py $(PROTOS)

bench: setup ## every figure of the design in one run; BENCH='--only cpu --quick' for less (docs/benchmarking.md)
	cd scripts && ../$(BIN)/python -m bench $(BENCH)

clean: ## remove everything that make has built
	rm -rf $(VENV) .path .demo build dist *.egg-info src/*.egg-info .hypothesis .mypy_cache scripts/.mypy_cache \
	    .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
