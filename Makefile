# make demo · make test · make check · make bench
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check bench lock clean
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

$(VENV)/.ready: requirements.lock pyproject.toml edge/pyproject.toml simulators/pyproject.toml
	./scripts/venv $(VENV)
	@touch $@

lock: $(VENV)/.ready
	$(VENV)/bin/python -m pip install -q uv
	$(VENV)/bin/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header \
		--extra demo --group dev pyproject.toml edge/pyproject.toml simulators/pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) var
