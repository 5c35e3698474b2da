# make demo · make test · make check · make bench · make bench-edge · make bench-telemetry · make bench-detection · make chaos · make chaos-telemetry · make fuzz
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check bench bench-edge bench-telemetry bench-detection chaos chaos-telemetry fuzz lock clean
demo: $(VENV)/.ready
	$(VENV)/bin/pms-iot demo

test: $(VENV)/.ready
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadgroup

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pms-iot check-rules

bench: $(VENV)/.ready
	$(PY) -m benchmarks

bench-edge: $(VENV)/.ready
	$(PY) -m benchmarks edge_client edge_agent edge_outage

bench-telemetry: $(VENV)/.ready
	$(PY) -m benchmarks telemetry telemetry_store telemetry_flow live_feed

# Found faults, false alarms and speed of the detectors, beside river, rrcf and PySAD; SAVE=--save takes a new baseline.
bench-detection: $(VENV)/.ready
	$(PY) -m pip install -q uv
	$(VENV)/bin/uv pip install -q --python $(PY) --group bench
	$(PY) -m benchmarks nab synthetic skab batadal detection forecast
	$(PY) -m benchmarks.fault_bench --jobs 2 $(SAVE)
	$(PY) -m benchmarks.pictures

# kill -9 over agent, engine and broker, full disks, mute links, lying devices; `make test` runs a short one.
chaos: export CHAOS_KILLS ?= 60
chaos: export CHAOS_SECONDS ?= 200
chaos: export CHAOS_SEED ?= $(shell date +%s)
chaos: $(VENV)/.ready
	$(PY) -m pytest tests/chaos -n 0 -s

# Only engine and store under telemetry load: fifty kills with the embedded store, fifty with InfluxDB.
chaos-telemetry: export CHAOS_KILLS ?= 50
chaos-telemetry: export CHAOS_SEED ?= $(shell date +%s)
chaos-telemetry: $(VENV)/.ready
	$(PY) -m pytest tests/chaos/test_telemetry_chaos.py -n 0 -s

# Coverage-guided, over every decoder of bytes from outside; FUZZ_SECONDS for each of the five.
fuzz: export FUZZ_SECONDS ?= 150
fuzz: $(VENV)/.ready
	$(PY) -m pip install -q 'atheris>=3'
	for target in modbus gb26875 json_mapping meokon wire; do \
		$(PY) -m tests.fuzz $$target -max_total_time=$$FUZZ_SECONDS -print_final_stats=1 -rss_limit_mb=4096 || exit 1; \
	done

$(VENV)/.ready: requirements.lock pyproject.toml edge/pyproject.toml simulators/pyproject.toml
	./scripts/venv $(VENV)
	@touch $@

lock: $(VENV)/.ready
	$(VENV)/bin/python -m pip install -q uv
	$(VENV)/bin/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header \
		--extra demo --group dev pyproject.toml edge/pyproject.toml simulators/pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) var
