"""Tables, figures and the search for rates count a diverged run as one that learnt nothing."""

import numpy as np
import pandas as pd
import pytest

from lmablate.results.exports import Exported, Metrics
from lmablate.results.outcomes import counted_losses, has_diverged, lowest_untrained_loss
from lmablate.results.plots import summary
from lmablate.results.plots.arms import Arms
from lmablate.results.report.comparison import compare
from lmablate.results.report.rates import rate_curves

UNTRAINED = 7.0
DIVERGED, FAILED = "diverged at step 5", "OutOfMemoryError: out of memory"


def experiment() -> Exported:
    """Four seeds of two arms at two rates. At the higher one an arm diverges twice, and a run of it lacks memory."""
    runs, rows = [], []
    for arm in ("pre", "post"):
        for rate in (1e-3, 1e-2):
            for seed in range(4):
                error = None
                if arm == "post" and rate == 1e-2:
                    error = {0: DIVERGED, 1: DIVERGED, 2: FAILED}.get(seed)
                name = f"{arm}{rate}{seed}"
                loss = 3 + 0.1 * seed - (rate == 1e-2)
                facts = {"parameters": 9, "max_steps": 9, "warmup_steps": 0, "tokens": 9}
                run = {"run": name, "seed": seed, "model/norm": arm, "optim.lr": rate, "error": error, **facts}
                runs.append(run | {"state": "failed" if error else "done", "val/loss": np.nan if error else loss})
                rows += [(name, 0, "init/loss", 9.0), (name, 0, "init/loss_over_uniform", 2.0)]
                rows += [(name, 0, "val/loss", 9.0), *([] if error else [(name, 9, "val/loss", loss)])]
    table = pd.DataFrame(rows, columns=["run", "step", "metric", "value"])
    return Exported("x", Metrics.from_frame(table), pd.DataFrame(runs))


def test_final_losses_are_those_that_count():
    losses = counted_losses(experiment())
    assert losses["post0.010"] == losses["post0.011"] == UNTRAINED == lowest_untrained_loss(experiment())
    assert "post0.012" not in losses, "what failed for another reason is not replaced"
    assert len(losses) == 15
    assert sum(has_diverged(experiment().runs)) == 2


def test_every_table_shows_the_same_mean_and_how_many_diverged():
    data = experiment()
    mean = (UNTRAINED + UNTRAINED + 2.3) / 3
    curves = rate_curves(data)
    assert curves is not None
    assert curves.means.loc["post-norm", 1e-2] == pytest.approx(mean)
    assert (curves.diverged, curves.runs) == (2, 16)
    (arm,) = [arm for arm in Arms(data).arms if arm.diverged]
    assert Arms(data).final("val/loss", arm).mean() == pytest.approx(mean)
    (row,) = [row for row in summary(data).to_dict("records") if "diverged" in str(row["seeds"])]
    assert row["seeds"] == "1 of 4, 2 diverged"
    assert str(row["val loss"]).startswith(f"{mean:.4f}")
    comparison = compare(data, "pre, 0.01")
    assert comparison is not None
    (cells,) = [arm.cells() for arm in comparison.arms if arm.diverged]
    assert cells[1] == "3, 2 diverged"
    assert cells[2].startswith(f"{mean:.4f}")
    assert "learnt nothing" in comparison.caption
