#!/usr/bin/env bash
# Train one arm at four sizes, with 0.6 tokens for each parameter, and export the runs for aa_on_exports.py.
# It may be interrupted and repeated: what is done is skipped.   scripts/aa_ladder.sh [overrides of lmablate.train ...]
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
folder=runs/aa_ladder
rung=0
for size in "32 2 30" "48 3 60" "64 4 100" "96 6 210"; do
  read -r d_model n_heads steps <<<"$size"
  rung=$((rung + 1))
  "$PYTHON" -m lmablate.train -m name=aa_ladder scale=short rung=$rung model.d_model="$d_model" model.n_heads="$n_heads" \
    model.d_ff=$((4 * d_model)) train.max_steps="$steps" train.batch_size=16 train.eval_every=10 optim.warmup_steps=10 \
    "seed=range(16)" diagnostics=full tracking=none runs_dir=$folder "$@"
done
"$PYTHON" -m lmablate.export experiment=aa_ladder runs_dir=$folder out=$folder/exports
