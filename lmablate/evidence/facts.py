"""Facts about runs: which of them count, what they cost, and the refusal of runs that cannot be compared."""

import numpy as np
import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence.divergence import step_of_divergence

# The columns of a table of facts, which has one row per run and experiment.
FACT_COLUMNS = ("run", "experiment", "data_fingerprint", "code_version", "tokens", "state")
# Factors that set the budget of a run, so that a claim which names them compares budgets on purpose.
BUDGET_FACTORS = ("train.max_steps", "train.batch_size", "rung", "scale")
# The same for its text, with each key below them, such as data.max_bytes. A scale of one's own may choose a text.
DATA_FACTORS = ("data", "scale")


def check_facts(facts: pd.DataFrame) -> None:
    """Refuse runs that cannot be compared: other data, other training code, or another budget.

    Code must be the same in the whole table, data and the number of tokens in each experiment, at each value of the
    factors that set them.

    Args:
        facts: one row per run and experiment, with the columns of FACT_COLUMNS, and perhaps some of BUDGET_FACTORS and
            DATA_FACTORS. Only runs that finished or diverged count.

    Raises:
        UserError: if runs cannot be compared, or a column is missing.
    """
    missing = [column for column in FACT_COLUMNS if column not in facts.columns]
    if missing:
        raise UserError(f"The table of facts has no column {missing[0]}: it needs {', '.join(FACT_COLUMNS)}.")
    counted = facts.loc[facts["run"].isin(ends_of_counted_runs(facts))]
    _refuse_mixture(counted, "code_version", "The table mixes code versions")
    budgets = [factor for factor in BUDGET_FACTORS if factor in counted.columns]
    texts = [factor for factor in counted.columns if factor.split(".")[0] in DATA_FACTORS]
    for column, name, factors in (
        ("data_fingerprint", "data fingerprints", texts),
        ("tokens", "unequal budgets of tokens", budgets),
    ):
        for (experiment, *_), runs in counted.groupby(["experiment", *factors], dropna=False):
            _refuse_mixture(runs, column, f"Experiment {experiment} mixes {name}")


def ends_of_counted_runs(facts: pd.DataFrame) -> dict[str, float]:
    """Return the ids of the runs that finished or diverged, with the step of the divergence, infinite for the former.

    Args:
        facts: one row per run and experiment, with the columns of FACT_COLUMNS, and perhaps `error`.
    """
    errors = facts["error"] if "error" in facts.columns else [None] * len(facts)
    counted = {}
    for run, state, error in zip(facts["run"], facts["state"], errors, strict=True):
        step = np.inf if state == "done" else step_of_divergence(state, error)
        if step is not None:
            counted[run] = step
    return counted


def training_flops(facts: pd.DataFrame) -> dict[str, float]:
    """Return the FLOPs of each run's training; NaN if they are not known."""
    per_token = facts["flops_per_token"] if "flops_per_token" in facts.columns else np.nan
    return dict(zip(facts["run"].tolist(), (facts["tokens"] * per_token).astype(float).tolist(), strict=True))


def _refuse_mixture(runs: pd.DataFrame, column: str, complaint: str) -> None:
    examples = runs.drop_duplicates(column)
    if len(examples) > 1:
        first = examples.head(3)
        values = [value if pd.notna(value) else "unknown" for value in first[column]]
        each = ", ".join(f"{value} (run {run})" for value, run in zip(values, first["run"], strict=True))
        raise UserError(f"{complaint}, so its runs cannot be compared: {each}.")
