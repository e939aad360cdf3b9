PYTHON := python3
BIN := .venv/bin
ROUNDS := 20
SEED := 0
MINUTES := 120

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
	$(BIN)/pytest -n auto --dist worksteal --durations=10
test-fast: setup
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"
soak: setup
	$(BIN)/python tests/soak.py 8
	$(BIN)/python tests/fuzz.py 2000
	KERASTL_SOAK=1 $(BIN)/pytest tests/test_kills.py tests/test_damage.py tests/test_devices.py tests/test_chaos.py \
		tests/test_training.py
	KERASTL_PROPERTIES=20000 $(BIN)/pytest -n auto tests/test_whole_data.py
chaos: setup
	$(BIN)/python tests/chaos.py $(ROUNDS) $(SEED)
long-run: setup
	$(BIN)/python tests/long_run.py $(MINUTES)
test-ray: setup
	KERASTL_RAY=1 $(BIN)/pytest -v -s tests/test_ray.py
test-browser: setup
	$(BIN)/pytest tests/browser.py tests/browser_page.py
web:
	npm ci --ignore-scripts --no-audit --no-fund --prefix kerastl/server/page/litert
quickstart: setup
	$(BIN)/python docs/quickstart.py
bench: setup
	$(BIN)/python benchmarks/run.py
audit: setup
	$(BIN)/uv tool run --from 'pip-audit==2.*' pip-audit --strict --disable-pip --no-deps -r constraints.txt
sbom: setup
	$(BIN)/uv tool run --from 'cyclonedx-bom==7.*' cyclonedx-py environment $(BIN)/python -o sbom.json
resolve: setup
	$(BIN)/python docs/resolve.py

.PHONY: setup lint type test test-fast soak chaos long-run test-ray test-browser web quickstart bench audit sbom resolve
