"""A branch of a longer run has the bits of a run that was never branched, and its parent stays as it is."""

import json
import shutil
from pathlib import Path

import pytest

from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run, all_runs
from tests.tiny import exit_code, overrides

LONG = ["schedule=wsd", "train.max_steps=40", "train.checkpoint_every=5", "train.eval_every=5"]
SHORT = [*LONG[:1], "train.max_steps=20", *LONG[2:]]  # its rate falls from step 16 on


def train(folder: Path, *arguments: str) -> Run:
    """Train a run, and return it."""
    before = {run.id for run in all_runs(folder / "runs")}
    assert exit_code([*overrides(folder), *arguments]) == 0
    (run,) = [run for run in all_runs(folder / "runs") if run.id not in before]
    return run


def contents(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.folder.rglob("*")) if path.is_file()}


def same_result(one: Run, other: Run, step: int) -> bool:
    """Whether both have the same last weights, optimizer and rows of metrics."""
    last = f"step_{step:08d}"
    for name in ("model.safetensors", "optimizer.safetensors"):
        if (one.checkpoints / last / name).read_bytes() != (other.checkpoints / last / name).read_bytes():
            return False
    rows = [
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in read_metrics(run.metrics_path)]
        for run in (one, other)
    ]
    return rows[0] == rows[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("branches")


@pytest.fixture(scope="module")
def parent(folder: Path) -> Run:
    return train(folder, *LONG, "train.keep_checkpoints=100")


# How a branch may differ from its parent, and the step at which it begins.
BRANCHES = {
    "a shorter run": (SHORT, 15),
    "another share of decay": ([*SHORT, "schedule.decay_fraction=0.6"], 5),
    "another last rate": ([*SHORT, "optim.min_lr=0"], 15),
    "another schedule that begins alike": (["schedule=constant", *SHORT[1:]], 15),
    "as long as the parent, with a longer decay": ([*LONG, "schedule.decay_fraction=0.5"], 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", BRANCHES)
def test_a_branch_has_the_bits_of_a_whole_run_and_changes_nothing_of_its_parent(
    how: str, folder: Path, parent: Run
) -> None:
    arguments, step = BRANCHES[how]
    before = contents(parent)
    whole = train(folder, *arguments)
    branch = train(folder, *arguments, f"train.branch_from={parent.id}")
    assert branch.facts()["branched_from"] == {"run": parent.id, "step": step}
    assert branch.id != whole.id
    assert parent.id in json.dumps(branch.facts()["identity"])
    assert same_result(branch, whole, 40 if "train.max_steps=40" in arguments else 20)
    assert branch.status()["val/loss"] == whole.status()["val/loss"]
    assert contents(parent) == before


def test_a_branch_that_lost_its_checkpoints_begins_again_and_a_finished_one_needs_no_parent(
    folder: Path, parent: Run, tmp_path: Path
) -> None:
    arguments = [*SHORT, "seed=0", "schedule.decay_fraction=0.3", f"train.branch_from={parent.id}"]
    branch = train(folder, *arguments)
    kept = shutil.copytree(branch.folder, tmp_path / "kept")
    shutil.rmtree(branch.checkpoints)
    (branch.folder / "status.json").unlink()
    assert exit_code([*overrides(folder), *arguments]) == 0
    assert same_result(branch, Run(kept), 20)
    away = parent.folder.rename(tmp_path / "away")
    try:
        assert exit_code([*overrides(folder), *arguments]) == 0
    finally:
        away.rename(parent.folder)


MISTAKES = {
    "no such run": ([*SHORT, "train.branch_from=another"], "it must be the id of a run in"),
    "a path": ([*SHORT, "train.branch_from=../runs/{parent}"], "it must be the id of a run in"),
    "another rate": (
        [*SHORT, "optim.lr=0.5", "train.branch_from={parent}"],
        "more than its length: config.optim.lr: 0.003 -> 0.5",
    ),
    "another seed": ([*SHORT, "seed=1", "train.branch_from={parent}"], "more than its length: config.seed: 0 -> 1"),
    "no common steps": (
        [*SHORT, "schedule=cosine", "train.branch_from={parent}"],
        "the learning rates agree up to step 4, but the parent has no checkpoint from before, only 5, 10, 15",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_parent_that_cannot_be_one_is_refused_and_leaves_no_run(
    mistake: str, folder: Path, parent: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = MISTAKES[mistake]
    before = {run.id for run in all_runs(folder / "runs")}
    typed = [argument.format(parent=parent.id) for argument in arguments]
    assert exit_code([*overrides(folder), *typed]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert {run.id for run in all_runs(folder / "runs")} == before
