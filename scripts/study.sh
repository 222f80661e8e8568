#!/usr/bin/env bash
# The whole study behind the README's verdicts, at scale=cpu unless told otherwise: the experiments of conf/claim, the
# factorials, the first ones of conf/claim/field, the ladders, and a stack part by part. It may be interrupted and
# repeated: what is done is skipped.
#     scripts/study.sh [overrides of lmablate.train ...]
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
overrides=("$@")
failed=0
# Enough where claims read final losses and evaluations.
coarse="every=100 step_every=10 step_digits=3"

# Train and audit an experiment, and write its tables: study FOLDER THINNING NAME CONFIG [overrides of its own ...]
study() {
  local folder=$1 thinning=$2 name=$3 config=$4
  shift 4
  echo "== $name"
  "$PYTHON" -m lmablate.train experiment="$config" tracking=none "$@" "${overrides[@]}" || failed=1
  "$PYTHON" -m lmablate.audit experiment="$config" out="$folder/$name.audit.json" "$@" "${overrides[@]}" || failed=1
  # shellcheck disable=SC2086
  "$PYTHON" -m lmablate.export experiment="$name" out="$folder" $thinning csv=none overwrite=true || failed=1
}

for name in positional_encoding llama vanilla llama_vs_vanilla llama_vs_vanilla_tuned norm_location norm_location_tuned \
  norm_location_lr activation activation_llama activation_vanilla norm_init aa warmup weight_tying weight_tying_flops; do
  study analysis/exports every=5 "$name" "$name" diagnostics=full
done
study analysis/second/exports "$coarse" norm_location_again norm_location_again diagnostics=full
for name in factorial_blocks factorial; do
  study analysis/second/exports "$coarse" "$name" "$name" "seed=range(12,15)"
done
for name in average dyt tying dropout mixer dyt_little_text dropout_epochs gate values init norm; do
  study analysis/field/exports "$coarse" "field_$name" "field/$name"
done
study analysis/field/exports "$coarse" field_optim field/optim tuned=field_optim
for name in ladder ladder_norm ladder_pos ladder_optim; do
  study analysis/ladder/exports "$coarse" "$name" "$name" "tuned=$name" "seed=range(12,16)"
done
# A stack, without each of its choices, and each of them alone.
for name in leave_one_out add_one; do
  study analysis/stack/exports "$coarse" "$name" "$name" "tuned=$name" "seed=range(12,17)"
done
# The rate that the pilot found for AdamW: does a part still help where the base learns faster?
for name in gate values norm init; do
  study analysis/field/exports "$coarse" "field_${name}_second_rate" "field/$name" "name=field_${name}_second_rate" \
    optim.lr=0.00949
done
exit $failed
