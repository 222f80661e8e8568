#!/usr/bin/env bash
# Train one arm at the four sizes of the ladder, a tenth of its tokens each, and export the runs for aa_on_exports.py.
# It may be interrupted and repeated: what is done is skipped.   scripts/aa_ladder.sh [overrides of lmablate.train ...]
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
folder=runs/aa_ladder
rung=0
for steps in 30 60 100 210; do
  rung=$((rung + 1))
  "$PYTHON" -m lmablate.train -m name=aa_ladder scale=short rung=$rung train.max_steps=$steps train.batch_size=16 \
    train.eval_every=10 optim.warmup_steps=10 "seed=range(16)" diagnostics=full tracking=none runs_dir=$folder "$@"
done
"$PYTHON" -m lmablate.export experiment=aa_ladder runs_dir=$folder out=$folder/exports
