# The two commands of the README are `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PROTOS := $(wildcard proto/forcedmove/v1/*.proto)

.PHONY: run test unit lint proto docs bench fuzz soak soak-feeds soak-serving kill gpu-check clean

.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/forcedmove compile
	touch $@

run: .venv/stamp
	$(BIN)/forcedmove demo

test: lint unit

# A file's tests stay in one process. One more process than cores, up to four: some tests are heavy, and many wait.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4)))

unit: .venv/stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: .venv/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	BUF=$(CURDIR)/$(BIN)/buf .ci/breaking

proto: .venv/stamp
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=proto --grpc_python_out=proto --mypy_out=proto --mypy_grpc_out=proto $(PROTOS)

docs: .venv/stamp
	$(BIN)/python -m forcedmove_server.margin.document > docs/venues.md
	$(BIN)/python -m forcedmove_server.collectors.document > docs/feeds.md

bench: .venv/stamp
	$(BIN)/python -m tests.benchmarks

# A million hostile messages through the venues' parsers, and a million hostile requests through every RPC.
fuzz: .venv/stamp
	FORCEDMOVE_FUZZ=46000 $(BIN)/python -m pytest -q tests/wire/test_fuzz.py
	$(BIN)/python -W error -m tests.rpc_fuzz --inputs 1000000

soak: soak-feeds soak-serving

# Ten minutes of all venues at once under random faults, against the emulator; MINUTES=N replaces the ten.
soak-feeds: .venv/stamp
	$(BIN)/python -m tests.emulator.soak --minutes $(or $(MINUTES),10)

# An hour of readers, scans and changes of positions against one server, and what grew; MINUTES=N replaces the sixty.
soak-serving: .venv/stamp
	$(BIN)/python -m tests.soak_serving --minutes $(or $(MINUTES),60)

# A serving process is killed two hundred times at random moments while clients send; KILLS=N replaces the number.
kill: .venv/stamp
	$(BIN)/python -m tests.recovery.kill --kills $(or $(KILLS),200)

# On a machine with a GPU: needs NumPy and CuPy, nothing of the above. SEED=N repeats the tables of an earlier run.
gpu-check:
	PYTHONPATH=kernels:. $(PYTHON) -m tests.gpu $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv build dist
