# The commands of this project. Each does all its set-up: a fresh machine needs only Python 3.11 or newer, git and make.
.PHONY: demo test slow peers check docs bench bench-all bench-gpu clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export OMP_WAIT_POLICY := PASSIVE

demo: $(VENV)/core.stamp  ## the whole journey on the embedded model
	$(BIN)/tunesmith demo

test: $(VENV)/dev.stamp  ## the default tests
	$(BIN)/python -m pytest

slow: $(VENV)/dev.stamp  ## the tests that take longer than a few seconds
	$(BIN)/python -m pytest -m slow

peers: $(VENV)/peers.stamp  ## install what tests and benchmarks beside other libraries need; without it they are skipped

check: $(VENV)/dev.stamp  ## style, types, layers, budgets, docs up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_layers.py
	$(BIN)/python tools/check_budgets.py
	$(BIN)/python tools/docs.py --check

docs: $(VENV)/dev.stamp  ## write docs/reference and the JSON schema from the code
	$(BIN)/python tools/docs.py

bench: $(VENV)/peers.stamp  ## six trainings side by side with TRL and PEFT
	$(BIN)/python benchmarks/beside_trl.py
	$(BIN)/python benchmarks/page.py

bench-all: $(VENV)/peers.stamp  ## every cell and every other speed; a stopped run goes on where it was
	$(BIN)/python benchmarks/beside_trl.py --all
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/lora_layer.py
	$(BIN)/python benchmarks/method_speed.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/inference.py

bench-gpu: $(VENV)/peers.stamp  ## models of one and eight billion parameters, where there is an NVIDIA GPU
	$(BIN)/python benchmarks/beside_trl.py --gpu
	$(BIN)/python benchmarks/page.py

clean:  ## remove the environment, caches and build folders; runs stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tunesmith needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/core.stamp

$(VENV)/peers.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[peers,encoder,quant,report,sweep]"
	touch $@ $(VENV)/core.stamp
