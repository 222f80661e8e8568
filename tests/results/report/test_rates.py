"""The page says whether a ranking of arms depends on the learning rate."""

import pandas as pd
import pytest

from lmablate.results.exports import Exported, Metrics
from lmablate.results.frames import select_columns
from lmablate.results.report.rates import rate_curves

LOSSES = {("pre", 1e-3): 3.0, ("pre", 3e-3): 2.0, ("post", 1e-3): 2.5, ("post", 3e-3): 2.9}


def rates(losses: dict[tuple[str, float], float]) -> Exported:
    rows = [(f"r{i}", 0, norm, rate, "done", loss) for i, ((norm, rate), loss) in enumerate(losses.items())]
    runs = pd.DataFrame(rows, columns=["run", "seed", "model/norm", "optim.lr", "state", "val/loss"])
    return Exported(
        "x", Metrics.from_frame(select_columns(runs, ["run"]).assign(step=0, metric="init/loss", value=7.0)), runs
    )


def test_a_ranking_that_depends_on_the_rate_is_said_to_flip() -> None:
    curves = rate_curves(rates(LOSSES))
    assert curves is not None
    assert curves.best == {"pre-norm": 3e-3, "post-norm": 1e-3}
    assert curves.ranking_sentence == (
        "The order of the means changes. With each arm at its best it is pre-norm (at 0.003) before post-norm "
        "(at 0.001); at 0.001 it is post-norm before pre-norm. "
        "These orders are no tests: seeds differ, and the best rates were chosen on the same runs."
    )
    assert curves.sensitivity == pytest.approx({"pre-norm": 0.5, "post-norm": 0.2})


def test_a_ranking_that_does_not_depend_on_the_rate_is_said_to_stay() -> None:
    curves = rate_curves(rates(LOSSES | {("pre", 1e-3): 2.4}))
    assert curves is not None
    assert curves.ranking_sentence.startswith("The order of the means is the same at every common rate")
