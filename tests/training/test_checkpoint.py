"""Checkpoints: what is saved comes back, and nothing else is loaded. tests/faults damages those of real runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lmablate.errors import UserError
from lmablate.training.checkpoint import best_of, checkpoints, load_checkpoint, save_checkpoint
from lmablate.training.optim import AdamW


def trained(seed: int = 0, width: int = 3) -> tuple[nn.Module, AdamW]:
    """A layer and its optimizer after one step."""
    torch.manual_seed(seed)
    model = nn.Linear(2, width)
    optimizer = AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def steps_in(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in checkpoints(folder)]


def test_weights_moments_state_and_random_numbers_come_back(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path, 1, model, optimizer, state={"run": "a", "val/loss": 2.5})
    expected = torch.rand(3)
    other, other_optimizer = trained(seed=1)
    assert load_checkpoint(tmp_path, other, other_optimizer, run_id="a") == {"step": 1, "run": "a", "val/loss": 2.5}
    assert torch.equal(torch.rand(3), expected)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert other_optimizer.state[q]["step"] == 1
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[p][moment], other_optimizer.state[q][moment])


def test_without_a_checkpoint_nothing_is_loaded(tmp_path):
    model, optimizer = trained()
    assert load_checkpoint(tmp_path / "missing", model, optimizer) is None


def test_the_weights_alone_can_be_loaded(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path, 1, model, optimizer)
    other, _ = trained(seed=1)
    before = torch.get_rng_state()
    assert load_checkpoint(tmp_path, other) == {"step": 1}
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_the_newest_and_the_best_are_kept(tmp_path):
    model, optimizer = trained()
    for step, loss in enumerate([5.0, 1.0, float("nan"), 3.0, 2.0]):
        save_checkpoint(tmp_path, step, model, optimizer, keep=2, state={"val/loss": loss})
    assert steps_in(tmp_path) == [1, 3, 4]
    assert best_of(checkpoints(tmp_path)) == tmp_path / "step_00000001"
    for best, step in ((False, 4), (True, 1)):
        state = load_checkpoint(tmp_path, model, best=best)
        assert state
        assert state["step"] == step


SAVES: dict[str, tuple[list[int], int, list[int]]] = {
    # steps saved one after the other, how many to keep, steps that are there at last
    "rising": ([1, 2, 3, 4], 2, [3, 4]),
    "a lower step beside newer ones": ([10, 20, 30, 5], 2, [5, 20, 30]),
    "lower steps again and again": ([10, 20, 1, 2, 3], 2, [2, 3, 10, 20]),
    "past the newer ones": ([10, 20, 5, 15, 25], 2, [20, 25]),
    "the same step": ([3, 3, 3], 2, [3]),
    "step 0 after others": ([5, 6, 0], 2, [0, 5, 6]),
    "falling": ([4, 3, 2, 1], 2, [1, 2, 3, 4]),
    "more to keep": ([1, 2, 3, 4, 5], 3, [3, 4, 5]),
    "more than eight digits": ([99_999_999, 100_000_000, 100_000_001], 2, [100_000_000, 100_000_001]),
}


@pytest.mark.parametrize(("saved", "keep", "left"), SAVES.values(), ids=SAVES.keys())
def test_what_is_written_stays_and_older_ones_go(saved, keep, left, tmp_path):
    for step in saved:
        path = save_checkpoint(tmp_path, step, *trained(), keep=keep)
        assert (path / "manifest.json").is_file()
    assert steps_in(tmp_path) == left
    assert load_checkpoint(tmp_path, trained()[0]) == {"step": left[-1]}


@pytest.mark.parametrize("name", ["step_00000009.old", "step_", "step_last", "step_00000009 (copy)", "step_-0000001"])
def test_a_folder_with_another_name_is_no_checkpoint(name, tmp_path):
    path = save_checkpoint(tmp_path, 1, *trained())
    shutil.copytree(path, tmp_path / name)
    assert checkpoints(tmp_path) == [path]
    save_checkpoint(tmp_path, 2, *trained())
    save_checkpoint(tmp_path, 3, *trained())
    assert steps_in(tmp_path) == [2, 3]
    assert (tmp_path / name / "manifest.json").is_file()


@pytest.mark.parametrize("as_given", [str, Path, lambda path: f"{path}/"])
def test_a_folder_may_be_text(as_given, tmp_path):
    folder = as_given(tmp_path / "run")
    path = save_checkpoint(folder, 1, *trained(), state={"val/loss": 1.0})
    assert path == tmp_path / "run" / "step_00000001"
    assert load_checkpoint(folder, trained()[0], best=True) == {"step": 1, "val/loss": 1.0}
    assert checkpoints(folder) == [path]
    assert best_of([as_given(path)]) == path


@pytest.mark.parametrize("step", [np.int64(7), np.uint16(7), torch.tensor(7)])
def test_a_step_may_be_any_whole_number(step, tmp_path):
    state = {"step": 3, "run": "a"}  # such as one that was loaded before
    assert save_checkpoint(tmp_path, step, *trained(), state=state).name == "step_00000007"
    assert load_checkpoint(tmp_path, trained()[0]) == {"step": 7, "run": "a"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"keep": 0}, ValueError, "at least 2 are kept"),
        ({"keep": -3}, ValueError, "keep=-3: it must be a whole number"),
        ({"keep": 2.5}, ValueError, "keep=2.5: it must be a whole number"),
        ({"keep": None}, ValueError, "keep=None: it must be a whole number"),
        ({"step": -1}, ValueError, "step=-1: it must be a whole number of at least 0"),
        ({"step": 1.5}, ValueError, "step=1.5: it must be a whole number"),
        ({"step": "3"}, ValueError, "step='3': it must be a whole number"),
        ({"step": torch.tensor(2.0)}, ValueError, "it must be a whole number"),
        ({"state": {"a": {1, 2}}}, TypeError, "set is not JSON"),
        ({"state": {"val/loss": torch.tensor(1.0)}}, TypeError, "Tensor is not JSON"),
    ],
)
def test_arguments_that_are_not_allowed_are_named_and_leave_nothing(arguments, error, message, tmp_path):
    step = arguments.pop("step", 1)
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path, step, *trained(), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_single_checkpoint_is_too_few(tmp_path):
    with pytest.raises(ValueError, match="at least 2 are kept"):
        save_checkpoint(tmp_path, 1, *trained(), keep=1)
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_behind_is_removed_and_never_loaded(tmp_path):
    save_checkpoint(tmp_path, 1, *trained())
    (tmp_path / "step_00000001").rename(tmp_path / ".writing_00000001")
    assert load_checkpoint(tmp_path, trained()[0]) is None
    save_checkpoint(tmp_path, 2, *trained())
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000002"]


def test_a_step_can_be_saved_again(tmp_path):
    save_checkpoint(tmp_path, 1, *trained(seed=0))
    model, optimizer = trained(seed=1)
    save_checkpoint(tmp_path, 1, model, optimizer)
    other, _ = trained(seed=2)
    load_checkpoint(tmp_path, other)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_failed_save_leaves_the_earlier_checkpoints_alone(tmp_path):
    save_checkpoint(tmp_path, 1, *trained())
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 2, *trained(), state={"not": {"json"}})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, caplog):
    model, optimizer = trained()
    for step in (1, 2):
        save_checkpoint(tmp_path, step, model, optimizer)
    save_file({}, tmp_path / "step_00000002" / "model.safetensors")
    assert load_checkpoint(tmp_path, model) == {"step": 1}
    assert "step_00000002 is damaged (model.safetensors does not have the sha256 of the manifest)" in caplog.text


@pytest.mark.parametrize(
    ("width", "run_id", "difference"),
    [
        (3, "b", "run: 'a' -> 'b'"),
        (4, "a", r"weight: 'float32\[3, 2\]' -> 'float32\[4, 2\]'"),
    ],
)
def test_a_checkpoint_of_another_run_or_model_is_refused_before_anything_is_loaded(tmp_path, width, run_id, difference):
    save_checkpoint(tmp_path, 1, *trained(), state={"run": "a"})
    model, optimizer = trained(seed=1, width=width)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(UserError, match=difference):
        load_checkpoint(tmp_path, model, optimizer, run_id=run_id)
    assert all(map(torch.equal, model.parameters(), before))
