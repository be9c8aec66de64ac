# Everything happens in .venv; nothing is installed globally. `make demo` and `make test` set up what they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test check bench soak year lock prefect mlflow worker clean

help:            ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/ready  ## a virtual environment with the locked dependencies

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Millrace needs Python 3.11 or later; try: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv with the locked dependencies; this takes some minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup      ## the main job on real flights
	@$(BIN)/millrace demo

test: check      ## the whole suite
	$(BIN)/python -m pytest

check: setup     ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: setup      ## upgrade River under it, and kill it hundreds of times: make soak KILLS=300 SEED=1
	$(BIN)/python -m tests.faults.upgrade
	$(BIN)/python -m tests.faults --kills $(or $(KILLS),300) --seed $(or $(SEED),1)

bench: setup     ## figures, as ratios against bare River in the same run
	$(BIN)/python -m benchmarks

year: setup      ## the whole year of flights, for benchmarks and backfills
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-year.lock
	$(BIN)/python datasets/data/make_flights.py --year --out datasets/data/flights-2013.parquet

lock: setup      ## compile the locks anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group year --constraint requirements.lock --output-file requirements-year.lock

prefect: setup   ## Prefect's server: http://127.0.0.1:4200
	$(BIN)/prefect server start

worker: setup    ## deploy the flows and run what is scheduled (beside `make prefect`)
	PREFECT_API_URL=http://127.0.0.1:4200/api $(BIN)/prefect work-pool create millrace --type process --overwrite
	PREFECT_API_URL=http://127.0.0.1:4200/api $(BIN)/prefect --no-prompt deploy --all
	PREFECT_API_URL=http://127.0.0.1:4200/api $(BIN)/prefect worker start --pool millrace --limit 2

mlflow: setup    ## MLflow's UI: http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port 5000 --workers 1 --backend-store-uri sqlite:///mlruns/mlflow.db

clean:           ## forget what the demo made: tables, files, versions, runs
	rm -rf data landing outbox .cache .prefect mlruns/*
