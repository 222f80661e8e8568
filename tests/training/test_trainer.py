"""The loop on a small model: what it evaluates, saves and resumes. tests/faults kills and resumes real runs."""

import math
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from lmablate.config.build import build_model
from lmablate.config.schema import OptimConfig, TrainConfig
from lmablate.diagnostics.grad_norms import GradNorms
from lmablate.errors import Diverged
from lmablate.inference.score import score
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import Run
from lmablate.runs.stop_signal import Preempted, StopFlag
from lmablate.training.checkpoint import checkpoints
from lmablate.training.journal import Journal
from lmablate.training.trainer import Trainer, TrainingData
from tests.covering import COMBINATIONS, with_choices
from tests.model.helpers import CONTEXT, VOCAB, random_tokens, small_model
from tests.tiny import configured

TRAIN = TrainConfig(max_steps=10, batch_size=4, eval_every=4, eval_batches=2, checkpoint_every=3, device="cpu")
OPTIM = OptimConfig(lr=1e-2, warmup_steps=2)
DATA = TrainingData(
    train=random_tokens(500, seed=1).numpy(),
    valid=random_tokens(200, seed=2).numpy(),
    token_bytes=np.full(VOCAB, 2),
)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, {"config": {}}, "tiny-s0", "")


def trainer_of(run: Run, train: TrainConfig = TRAIN, **options) -> Trainer:
    return Trainer(small_model(), DATA, run, seed=0, train=train, optim=OPTIM, **options)


def test_each_step_has_a_row_and_each_interval_its_evaluation(run):
    scores = trainer_of(run, probes=[GradNorms()]).fit()
    rows = read_metrics(run.metrics_path)
    assert [row["step"] for row in rows] == list(range(11))
    assert [row["step"] for row in rows if "val/loss" in row] == [0, 4, 8, 10]
    assert all({"train/loss", "grad_norm", "lr"} <= row.keys() for row in rows[:-1])
    assert scores == {key: rows[-1][key] for key in ("val/loss", "val/bpb", "final/val_loss", "final/val_bpb")}
    assert not any("final/val_loss" in row for row in rows[:-1])
    assert scores["val/bpb"] == pytest.approx(scores["val/loss"] / 2 / np.log(2))
    assert run.status()["state"] == "done"
    assert any("layer" in key for key in rows[0]), "the probe left no metric"


def test_the_final_loss_is_that_of_the_whole_file_as_lmablate_evaluate_finds_it(run):
    trainer = trainer_of(run)
    scores = trainer.fit()
    whole = score(trainer.model, DATA.valid, DATA.token_bytes, batch_size=3)
    assert scores["final/val_loss"] == pytest.approx(whole.nats, rel=1e-6)
    assert scores["final/val_bpb"] == pytest.approx(whole.bits_per_byte, rel=1e-6)
    assert scores["final/val_loss"] != scores["val/loss"]
    assert {key: run.status()[key] for key in scores} == scores


@pytest.mark.parametrize(("limit", "batches"), [(0, 0), (1, 1), (2, 2), (99, 4), (None, 5)])
def test_the_final_loss_may_be_that_of_fewer_batches_or_left_out(run, limit, batches):
    trainer = trainer_of(run, replace(TRAIN, final_eval_batches=limit))
    seen = []
    trainer.loss_of.register_forward_hook(lambda *call: seen.append(call))
    assert ("final/val_loss" in trainer.final_scores()) == (batches > 0)
    assert len(seen) == batches


def test_a_final_loss_that_is_not_finite_is_a_divergence(run):
    trainer = trainer_of(run)
    trainer.data = replace(DATA, valid=DATA.valid.copy())
    trainer.loss_of.register_forward_hook(lambda *call: torch.tensor(math.inf))
    with pytest.raises(Diverged):
        trainer.final_scores()


def test_a_long_evaluation_shows_that_the_run_is_alive(run, monkeypatch):
    trainer = trainer_of(run)
    before = run.status()["heartbeat"]
    monkeypatch.setattr(Journal, "SECONDS", 0.0)
    trainer.final_scores()
    assert run.status()["heartbeat"] > before
    assert run.status()["state"] == "running"


def test_the_first_evaluation_is_the_mean_over_all_validation_tokens(run):
    trainer = trainer_of(run)
    losses, sizes = [], []
    for tokens, targets in trainer.eval_batches:
        losses.append(trainer.loss_of(tokens, targets).item())
        sizes.append(targets.numel())
    scores = trainer.evaluate_and_probe()
    assert scores["val/loss"] == pytest.approx(np.average(losses, weights=sizes))
    trainer.journal.close(failed=True)


def test_a_stopped_run_resumes_and_ends_in_the_same_bits(run, tmp_path, monkeypatch):
    whole = Run.create(tmp_path / "whole", {"config": {}}, "tiny-s0", "")
    trainer_of(whole).fit()
    steps_made = 0

    def stop_after_four(self: Trainer, row: dict, train_one_step=Trainer.train_one_step) -> None:
        nonlocal steps_made
        train_one_step(self, row)
        steps_made += 1
        if steps_made == 4:
            os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(Trainer, "train_one_step", stop_after_four)
    previous = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with StopFlag() as stop, pytest.raises(Preempted):
            trainer_of(run, stop=stop).fit()
    finally:
        signal.signal(signal.SIGUSR2, previous)
    status = run.status()
    assert (status["state"], status["step"], status["error"]) == ("preempted", 4, "stopped by SIGUSR2 at step 4")
    trainer_of(run).fit()
    assert steps_made == 10
    for ended, expected in zip(checkpoints(run.checkpoints)[-1:], checkpoints(whole.checkpoints)[-1:], strict=True):
        for name in ("model.safetensors", "optimizer.safetensors"):
            assert (ended / name).read_bytes() == (expected / name).read_bytes()
    without_speed = [
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in read_metrics(r.metrics_path)]
        for r in (run, whole)
    ]
    assert without_speed[0] == without_speed[1]


def test_torchs_random_numbers_are_a_function_of_the_seed(tmp_path):
    drawn = []
    for name in "ab":
        torch.seed()
        trainer = trainer_of(Run.create(tmp_path / name, {"config": {}}, "tiny-s0", ""))
        drawn.append(torch.rand(3))
        trainer.journal.close(failed=True)
    assert torch.equal(*drawn)


@pytest.mark.slow
@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda row: "-".join(row.values()))
def test_every_combination_resumes_in_the_same_bits(choices, tmp_path):
    sizes = ("d_model=16", "n_layers=2", "n_heads=4", "d_ff=24", f"context_length={CONTEXT}")
    cfg = with_choices(configured(*(f"model.{size}" for size in sizes), "tokenizer.vocab_size=257"), choices)
    short, long = (replace(TRAIN, max_steps=3, checkpoint_every=every) for every in (2, 3))

    def trained(run: Run, train: TrainConfig) -> bytes:
        Trainer(build_model(cfg), DATA, run, seed=0, train=train, optim=OPTIM).fit()
        return (checkpoints(run.checkpoints)[-1] / "model.safetensors").read_bytes()

    whole, killed = (Run.create(tmp_path / name, {"config": {}}, "tiny-s0", "") for name in ("whole", "killed"))
    expected = trained(whole, long)
    assert trained(killed, short) == expected
    first, last = checkpoints(killed.checkpoints)
    shutil.rmtree(last)
    assert first.name.endswith("2")
    assert trained(killed, short) == expected
