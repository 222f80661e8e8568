"""Exports of made-up experiments."""

from pathlib import Path

import numpy as np
import pytest

from lmablate.results.exports import Exported, Thinning, load_exported, read_runs, write_tables
from tests.results.exports.helpers import make_config, make_run, training_rows

DIVERGED = "Diverged: diverged at step 50"


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment "pos": position encodings with a diverged run; "lr": norm placements over learning rates."""
    folder = tmp_path_factory.mktemp("exports")
    for seed in range(3):
        for pos, floor in (("rope", 4.5), ("nope", 5.0)):
            config = make_config(seed, pos=pos)
            bad = (pos, seed) == ("nope", 2)
            rows = [row for row in training_rows(seed, floor) if not bad or row["step"] < 50]
            status = {"state": "failed", "error": DIVERGED} if bad else {}
            make_run(folder / "runs", rows, {"pos": {"model/pos": pos}}, config, **status)
        for norm, best in (("pre", 3e-3), ("post", 1e-3)):
            for lr in (3e-4, 1e-3, 3e-3):
                rows = training_rows(seed, 5 + abs(np.log10(lr / best)))
                make_run(folder / "runs", rows, {"lr": {"model/norm": norm}}, make_config(seed, lr=lr, norm=norm))
    recorded = read_runs("metrics", folder / "runs")
    for experiment in ("pos", "lr"):
        write_tables(recorded, experiment, folder, Thinning())
    return folder


@pytest.fixture(scope="session")
def data(exports: Path) -> Exported:
    """The experiment "pos"."""
    return load_exported(exports, "pos")
