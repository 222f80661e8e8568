# Two commands matter: `make ablation` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: ablation test test-slow test-slurm test-faults check figures clean

# Compare four position encodings, trained from scratch on the Python standard library, and draw the result.
ablation: $(READY)
	$(BIN)/python -m lmablate.train experiment=positional_encoding
	$(BIN)/python -m lmablate.export experiment=positional_encoding
	$(BIN)/python -m lmablate.figures experiment=positional_encoding

test: $(READY)
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-slurm: $(READY)
	$(BIN)/python -m pytest -m slurm

test-faults: $(READY)
	$(BIN)/python -m pytest -m faults

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Redraw every figure and the report from the exports in the repository; trains nothing.
figures: $(READY)
	$(BIN)/python -m lmablate.report

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
