PYTHON := python3
BIN := .venv/bin

setup: .venv/ready
.venv/ready: constraints.txt setup.cfg setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lint: setup
	$(BIN)/ruff check .
type: setup
	$(BIN)/mypy
test: setup
	$(BIN)/pytest -n auto --dist worksteal
test-fast: setup
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"
soak: setup
	KERASTL_PROPERTIES=20000 $(BIN)/pytest -n auto tests/test_whole_data.py
quickstart: setup
	$(BIN)/python docs/quickstart.py
bench: setup
	$(BIN)/python benchmarks/run.py
resolve: setup
	$(BIN)/python docs/resolve.py

.PHONY: setup lint type test test-fast soak quickstart bench resolve
