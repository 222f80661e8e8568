#!/usr/bin/env bash
# The whole study behind the README's verdicts: every experiment of conf/claim, at scale=cpu unless told otherwise.
# It may be interrupted and repeated: what is done is skipped.   scripts/study.sh [overrides of lmablate.train ...]
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
experiments="positional_encoding llama vanilla llama_vs_vanilla norm_location activation activation_llama activation_vanilla
  weight_tying weight_tying_flops norm_init warmup llama_vs_vanilla_lr norm_location_lr aa"
failed=0
for experiment in $experiments; do
  echo "== $experiment"
  "$PYTHON" -m lmablate.train experiment="$experiment" diagnostics=full tracking=none "$@" || failed=1
  "$PYTHON" -m lmablate.audit experiment="$experiment" out=analysis/exports/"$experiment".audit.json "$@" || failed=1
done
exit $failed
