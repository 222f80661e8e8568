"""Every choice of optim, its subgroups, schedule and loss composes, trains, resumes, is audited, and has its own id.

The choices are the files in conf/: another one is tested as soon as its file is there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lmablate.config.build import check_config, resolve_config
from lmablate.config.identity import run_identity
from lmablate.config.schema import CONF, NEUTRAL
from lmablate.runs.metrics import read_metrics
from lmablate.runs.run import CODE_VERSION, Run
from lmablate.sweep.arm_audit import audit_arm
from lmablate.sweep.jobs import expand_sweep
from lmablate.training.checkpoint import checkpoints
from lmablate.training.recipe import build_recipe
from lmablate.training.trainer import Trainer
from tests.covering import covering_array
from tests.model.helpers import small_model
from tests.tiny import SMALL, configured, exit_code, overrides
from tests.training.test_trainer import DATA

# Where each group lands in a config.
KEYS = {
    "optim": "optim.algorithm", "optim/decay": "optim.decay", "optim/average": "optim.average", "schedule": "schedule",
    "loss": "loss",
}  # fmt: skip
OPTIONS = {group: sorted(path.stem for path in Path(CONF, group).glob("*.yaml")) for group in KEYS}
CHOICES = [(group, option) for group, options in OPTIONS.items() for option in options]
COMBINATIONS = covering_array(OPTIONS)
# Arguments by which a few steps reach all of an algorithm.
QUICK = {"soap": ["optim.algorithm.precondition_every=2"]}
STEPS = ["train.max_steps=6", "train.eval_every=3", "train.checkpoint_every=6", "train.eval_batches=2"]


def as_typed(choices: Mapping[str, str]) -> list[str]:
    return [f"{group}={option}" for group, option in choices.items()] + QUICK.get(choices["optim"], [])


@pytest.mark.parametrize("choice", CHOICES, ids="=".join)
def test_a_choice_puts_its_yaml_into_the_config_and_leaves_the_scale(choice, compose_config):
    group, option = choice
    expected = OmegaConf.load(Path(CONF, group, f"{option}.yaml"))
    for order in (["scale=report", f"{group}={option}"], [f"{group}={option}", "scale=report"]):
        cfg = compose_config(*order, "optim.weight_decay=0.3")
        check_config(cfg)
        assert (cfg.optim.lr, cfg.optim.warmup_steps, cfg.optim.weight_decay) == (3e-4, 300, 0.3)
        found = {**cfg.optim} if group == "optim" else OmegaConf.select(cfg, KEYS[group])
        assert {key: found[key] for key in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids="=".join)
def test_a_choice_is_a_part_of_the_id_unless_it_is_neutral(choice, compose_config):
    def identity(*more: str) -> dict:
        return run_identity(resolve_config(compose_config(*more)), "0" * 64, CODE_VERSION)

    group, option = choice
    node = OmegaConf.to_container(OmegaConf.select(compose_config(f"{group}={option}"), KEYS[group]))
    assert (identity(f"{group}={option}") == identity()) == (node == NEUTRAL[KEYS[group]])
    assert KEYS[group].rpartition(".")[2] not in {**identity()["config"], **identity()["config"]["optim"]}


def trainer_of(run: Run, choices: Mapping[str, str]) -> Trainer:
    cfg = configured(*STEPS, *as_typed(choices))
    check_config(cfg)
    settings: Any = OmegaConf.to_object(cfg)
    return Trainer(
        small_model(), DATA, run, seed=0, train=settings.train, optim=settings.optim, recipe=build_recipe(cfg)
    )


@pytest.mark.slow
@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda row: "-".join(row.values()))
def test_a_combination_trains_three_steps_and_resumes_in_the_same_bits(choices, tmp_path):
    runs = [Run.create(tmp_path / name, {"config": {}}, "tiny-s0", "") for name in ("whole", "halves")]
    whole = trainer_of(runs[0], choices)
    before = [p.detach().clone() for p in whole.model.parameters()]
    whole.fit()
    assert not any(p.equal(q) for p, q in zip(whole.model.parameters(), before, strict=True))
    half = trainer_of(runs[1], choices)
    for _ in range(3):
        half.train_one_step(half.between_steps())
    half.save()
    half.journal.close(failed=True)
    rest = trainer_of(runs[1], choices)
    assert rest.first_step == 3
    rest.fit()
    ended, expected = (checkpoints(run.checkpoints)[-1] for run in runs)
    assert ended.name == expected.name == "step_00000006"
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (ended / name).read_bytes() == (expected / name).read_bytes()
    lost, kept = (
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in read_metrics(run.metrics_path)]
        for run in runs
    )
    assert lost == kept


@pytest.mark.parametrize("loss", OPTIONS["loss"])
def test_losses_that_are_logged_are_cross_entropies(loss, tmp_path):
    """Before the first update, every choice of the loss logs the same number."""
    choices = {"optim": "adamw", "optim/decay": "decoupled", "schedule": "cosine"}
    rows = []
    for name in ("ce", loss):
        run = Run.create(tmp_path / f"{name}_run", {"config": {}}, f"{name}-s0", "")
        trainer_of(run, {**choices, "loss": name}).fit()
        rows.append(read_metrics(run.metrics_path))
    assert rows[0][0]["train/loss"] == pytest.approx(rows[1][0]["train/loss"], rel=1e-6)
    assert rows[0][0]["val/loss"] == rows[1][0]["val/loss"]


@pytest.mark.slow
@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda row: "-".join(row.values()))
def test_a_combination_is_audited(choices, corpus):
    (job,) = expand_sweep([*SMALL, *corpus, *as_typed(choices)]).jobs
    arm = audit_arm("the arm", job)
    assert 0 < arm.init_loss < 2 * arm.uniform
    assert arm.hours > 0
    assert arm.state_bytes > 0
    assert arm.memory > 8 * arm.parameters + arm.state_bytes


def test_the_memory_of_adamws_state_is_two_moments(corpus):
    (job,) = expand_sweep([*SMALL, *corpus]).jobs
    arm = audit_arm("the arm", job)
    assert arm.state_bytes == 8 * arm.parameters


@pytest.mark.parametrize("group", KEYS)
def test_a_sweep_over_a_group_is_planned(group, tmp_path, capsys):
    arguments = [*overrides(tmp_path), "-m", f"{group}=glob(*)"]
    assert exit_code(arguments, "lmablate.plan") == 0
    assert f"{len(OPTIONS[group])} runs, 0 done" in " ".join(capsys.readouterr().out.split())
