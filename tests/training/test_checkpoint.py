"""Checkpoints: what is saved comes back, and nothing else is loaded. tests/faults damages those of real runs."""

from pathlib import Path

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
        (4, "a", r"weight: 'F32\[3, 2\]' -> 'F32\[4, 2\]'"),
    ],
)
def test_a_checkpoint_of_another_run_or_model_is_refused_before_anything_is_loaded(tmp_path, width, run_id, difference):
    save_checkpoint(tmp_path, 1, *trained(), state={"run": "a"})
    model, optimizer = trained(seed=1, width=width)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(UserError, match=difference):
        load_checkpoint(tmp_path, model, optimizer, run_id=run_id)
    assert all(map(torch.equal, model.parameters(), before))
