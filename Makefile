# Two commands matter: `make ablation` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Python's bytecode is kept: the tests start hundreds of processes, and each would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

# A result's last bits depend on the number of threads, and tests run side by side.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# All tests of a file run in one process, so what several of them need is made once.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: ablation test test-slow test-slurm test-faults check figures study bench clean

# Compare four position encodings, trained from scratch on the Python standard library, and draw the result.
ablation: $(READY)
	$(BIN)/python -m lmablate.train experiment=positional_encoding seed=0,1
	$(BIN)/python -m lmablate.export experiment=positional_encoding out=runs/exports
	$(BIN)/python -m lmablate.figures experiment=positional_encoding exports=runs/exports out=runs/figures

test: $(READY)
	$(PYTEST) $(SIDE_BY_SIDE)

# What takes longer: simulations, whole sweeps, every figure, every combination of parts.
test-slow: $(READY)
	$(PYTEST) $(SIDE_BY_SIDE) -m 'slow and not faults'

# Needs a cluster: scripts/slurm_cluster.sh up. On a busy machine a real one may answer late: what fails is tried twice.
# The longest waits are left out: pytest -m 'slurm and faults'.
test-slurm: $(READY)
	$(PYTEST) -m 'slurm and not faults' || $(PYTEST) -m 'slurm and not faults' --last-failed

# Hundreds of kills, full disks and fuzzed files (docs/reliability.md).
test-faults: $(READY)
	$(PYTEST) -n auto -m 'faults and not slurm'

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Redraw every figure and the three reports from the exports in the repository; trains nothing.
figures: $(READY)
	$(BIN)/python -m lmablate.report
	$(BIN)/python -m lmablate.report exports=analysis/second/exports claims=conf/claim/again out=analysis/second/report.html
	$(BIN)/python -m lmablate.report exports=analysis/field/exports claims=conf/claim/field out=analysis/field/report.html

# Train and export everything that the reports are made of (some hours on two cores; may be interrupted).
study: $(READY)
	PYTHON=$(BIN)/python scripts/study.sh

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
