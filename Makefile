# idvault: `make serve` and `make test` are all a new machine needs (Python >= 3.11, make, git).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 3

.PHONY: serve demo test test-full setup dev lint lock clean bench bench-check bench-report bench-log bench-rewrapping bench-backups bench-deepening bench-growing bench-large transcripts

serve: setup  ## set everything up and serve the embedded vault on 127.0.0.1:8400
	$(BIN)/idvault serve

demo: setup  ## play the whole story on specimen people in a vault of its own
	$(BIN)/idvault demo

# Programs that tests start read what the first of them compiled, wherever that is kept from being written by default.
unexport PYTHONDONTWRITEBYTECODE

test: dev  ## run the tests with SQLite, then again with PostgreSQL what has a store
	scripts/system-packages
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --database postgresql

test-full: dev  ## the same with whole sweeps and large samples; takes hours
	scripts/system-packages
	$(BIN)/pytest --full
	$(BIN)/pytest --full --database postgresql

setup: $(VENV)/.run  ## the environment from the hash-pinned run lock

dev: $(VENV)/.dev  ## the environment plus what tests, lint and bench need

$(VENV)/.run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check --quiet
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/pip check --quiet
	touch $@

lint: dev  ## ruff, mypy strict on code and tests, the house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock:  ## renew both locks (needs uv)
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header --no-annotate --extra build pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header --no-annotate --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

bench: dev  ## figures beside the floor program and OpenBao, on PostgreSQL
	scripts/system-packages bench
	$(BIN)/python -m bench

bench-check: dev  ## the same, and an error where a ratio fell by more than a tenth below the recorded one
	scripts/system-packages bench
	$(BIN)/python -m bench --check

bench-report: dev  ## tables and plots of the recorded run into docs/
	$(BIN)/python -m bench.report

bench-log: dev  ## the public log at 10 thousand and a million entries, and what it costs introspections
	scripts/system-packages bench
	$(BIN)/python -m bench.log

bench-rewrapping: dev  ## keys sealed anew at 10 and 100 thousand records, and what it costs introspections
	scripts/system-packages bench
	$(BIN)/python -m bench.rewrapping

bench-backups: dev  ## a backup of 100 thousand people, and a vault that comes back from it
	$(BIN)/python -m bench.backups 100000

bench-deepening: dev  ## records sealed anew after a compromise, a vault that opens, what a backup costs introspections
	$(BIN)/python -m bench.deepening 20000

bench-growing: dev  ## registrations, introspections and every list as one vault grows to a million people; a quarter of an hour
	scripts/system-packages bench
	$(BIN)/python -m bench.growing 10000 100000 1000000 --rounds 3

bench-large: dev  ## import 5.8 million people into PostgreSQL, killed twice with -9 on the way; a quarter of an hour, 24 GB of memory, 50 GB of disk
	$(BIN)/python -m bench.importing 5800000 --kill 2 --set shared_buffers=6GB --set wal_buffers=64MB \
	    --set max_wal_size=32GB --set checkpoint_timeout=15min

clean:  ## remove the environment and caches; the vault under var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build

transcripts: dev  ## hold every ceremony of the officers' handbook anew, and write what the terminals showed
	$(BIN)/python docs/transcripts.py
