# The words of the house. `make build` needs Python 3.11 to 3.13, cargo, make and a C compiler; it leaves .venv/bin/sluicegate.
# The first fast one of these (bench/interpreter.py), else the first; they are asked only where a .venv is made.
PYTHONS := python3.11 /usr/bin/python3.11 python3 /usr/bin/python3 python3.12 python3.13
PYTHON ?= $(shell (for python in $(PYTHONS); do $$python bench/interpreter.py; done; echo 3 python3.11) 2> /dev/null \
	| sort --stable --numeric-sort --key 1,1 | sed 's/^. //; q')
SECONDS ?= 600
SOAK ?= 600
RATE ?= 60
BIN := .venv/bin
FUZZERS := sse json http1 connection request

.PHONY: help build run demo test test-all check bench fuzz soak tools

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: .venv/installed  ## .venv with everything the lock names, and the package in it, optimised
	VIRTUAL_ENV=$(CURDIR)/.venv PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet

.venv/installed: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	touch $@

run: build  ## the gateway with sluicegate.yaml, or without a file: openai/* on loopback, by OPENAI_API_KEY
	$(BIN)/sluicegate serve $(if $(wildcard sluicegate.yaml),--config sluicegate.yaml)

demo: build  ## an upstream and the gateway in front of it; the official SDK asks, then it keeps serving
	$(BIN)/sluicegate demo

test: build  ## what CI runs: Rust and Python tests with a fixed sample of the recorded streams
	cargo test --locked --no-default-features --lib
	$(BIN)/pytest -n auto --dist loadfile -m "not full"

test-all: check  ## check, then every test: all recorded streams, all cut points, both transports
	SLUICEGATE_TEST_ALL=1 cargo test --locked --no-default-features --lib
	SLUICEGATE_TEST_ALL=1 $(BIN)/pytest -n auto --dist loadfile

check: build  ## formats, lints, types, the stub, who imports whom, instruction counts
	cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --locked --all-targets -- -D warnings
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
	$(BIN)/python -m mypy.stubtest sluicegate._native
	$(BIN)/lint-imports
	$(BIN)/python bench/instructions.py

bench: build  ## ratios beside nginx; QUICK=1 for a glance; RIVALS=litellm,portkey,smg,NAME=COMMAND@HOST:PORT adds others
	$(BIN)/python -m bench $(if $(RIVALS),--rivals '$(RIVALS)')

fuzz:  ## SECONDS=600 shared among the fuzz targets
	command -v cargo-fuzz > /dev/null || cargo install --quiet --locked cargo-fuzz
	for target in $(FUZZERS); do \
		mkdir -p fuzz/corpus/$$target && \
		cargo fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$$(($(SECONDS) / $(words $(FUZZERS)))) || exit 1; \
	done

soak: build  ## SOAK=600 seconds (an hour: SOAK=3600) at RATE=60 requests a second, 1 % of every fault among them
	$(BIN)/python -m tests.soak --seconds $(SOAK) --rate $(RATE)

tools:  ## what tests/real ask for beside the lock: llmock in a .venv of its own, the SDKs for Node if there is one
	test -x .tools/llmock/bin/llmock || { \
		$(PYTHON) -m venv .tools/llmock && \
		.tools/llmock/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/real/llmock.lock; }
	! command -v npm > /dev/null || npm ci --prefix tests/real/node --ignore-scripts --no-audit --no-fund --loglevel error
