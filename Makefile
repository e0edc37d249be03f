# Two environments: .venv-run is what a user installs (no torch), .venv holds everything for development.
PYTHON ?= python3
VIDEO ?= samples/street.mp4
ARGS ?= --interval 4
NATIVE = pyproject.toml CMakeLists.txt $(shell find plugins -name '*.cpp' -o -name '*.h' -o -name '*.cu')

.PHONY: demo test check check-long check-gpu clean

demo: .venv-run/.ready
	.venv-run/bin/gsvnet-engine run "$(VIDEO)" $(ARGS) --force

test: .venv/.ready
	.venv/bin/python -m pytest

check: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

check-long: .venv/.ready
	.venv/bin/python -m pytest -m long

# What needs a real NVIDIA GPU; skips, saying so, what is not there. ONNX Runtime's part: in an environment with
# [ort-gpu] instead, `python -m pytest -m gpu -W default -rs tests/gpu`. Warnings are of torch and CuPy there.
check-gpu: .venv/.ready
	.venv/bin/python -m pytest -m gpu -W default -rs tests/gpu

.venv-run/.ready: $(NATIVE)
	$(PYTHON) -m venv .venv-run
	.venv-run/bin/pip install --disable-pip-version-check -q -e '.[cpu]'
	touch $@

.venv/.ready: $(NATIVE) constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-run .venv-c build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
