#!/usr/bin/env bash
# The whole study behind the README's verdicts: every experiment of conf/claim, at scale=cpu unless told otherwise.
# It may be interrupted and repeated: what is done is skipped.   scripts/study.sh [overrides of lmablate.train ...]
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
experiments="positional_encoding llama vanilla llama_vs_vanilla llama_vs_vanilla_tuned norm_location norm_location_tuned norm_location_lr
  activation activation_llama activation_vanilla norm_init aa warmup weight_tying weight_tying_flops"
failed=0
for experiment in $experiments; do
  echo "== $experiment"
  "$PYTHON" -m lmablate.train experiment="$experiment" diagnostics=full tracking=none "$@" || failed=1
  "$PYTHON" -m lmablate.audit experiment="$experiment" out=analysis/exports/"$experiment".audit.json "$@" || failed=1
done
exit $failed
