"""The ids of committed runs do not change."""

import csv
from pathlib import Path

import pytest

from lmablate.config.build import resolve_config
from lmablate.config.identity import run_identity, run_label
from lmablate.config.schema import CONF
from lmablate.runs.run import CODE_VERSION, run_id

EXPORTS = Path(__file__).parents[2] / "analysis" / "exports"


@pytest.mark.parametrize(
    ("experiment", "arm"),
    [
        ("llama", {"seed": "12"}),
        ("activation_llama", {"seed": "13", "model/act": "relu"}),
        ("norm_init", {"seed": "15", "model/norm": "pre", "model/tying": "false", "model/init": "cs336"}),
    ],
)
def test_a_committed_run_keeps_its_id(experiment, arm, compose_config):
    """An id hashes the resolved config, and so the `_target_` string of every class in it.

    If such a class moves or is renamed, if a default changes, or if a key is added to the config, then the committed
    runs get other ids: they would be trained again, and the committed exports would belong to runs that no command
    selects. A change of this kind is a new CODE_VERSION, and a new study.
    """
    with (EXPORTS / f"{experiment}.runs.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if arm.items() <= row.items()]
    overrides = [f"experiment={experiment}", *(f"{key}={value}" for key, value in arm.items())]
    cfg = resolve_config(compose_config(*overrides, "scale=cpu", "diagnostics=full"))  # as in scripts/study.sh
    version = int(row["code_version"])
    assert version <= CODE_VERSION
    assert run_id(run_identity(cfg, row["data_fingerprint"], version), run_label(cfg)) == row["run"]
    # The same run trained by the present code is another one.
    same = run_id(run_identity(cfg, row["data_fingerprint"], CODE_VERSION), run_label(cfg)) == row["run"]
    assert same == (version == CODE_VERSION)


@pytest.mark.parametrize("tracking", sorted(path.stem for path in (CONF / "tracking").glob("*.yaml")))
def test_the_trackers_are_no_part_of_an_id(tracking, compose_config):
    def identity(*overrides: str):
        return run_identity(resolve_config(compose_config(*overrides)), "0" * 64, CODE_VERSION)

    assert identity(f"tracking={tracking}") == identity("tracking=none")
