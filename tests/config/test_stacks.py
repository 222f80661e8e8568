"""The arms of a stack are generated from its file: each choice left out, and each alone."""

from pathlib import Path

import pytest

from lmablate.config.schema import CONF
from lmablate.files import read_yaml
from lmablate.runs.run import all_runs
from lmablate.sweep.jobs import expand_sweep
from tests.tiny import configured, exit_code, overrides

MODERN = {
    key.removeprefix("override /"): str(option)
    for entry in read_yaml(CONF / "stack" / "modern.yaml")["defaults"]
    for key, option in entry.items()
}


def typed(choices: dict[str, str]) -> list[str]:
    return [f"{group}={option}" for group, option in choices.items()]


def test_a_stack_is_its_choices():
    assert configured("stack=modern") == configured(*typed(MODERN))
    assert configured("stack=none") == configured()


@pytest.mark.parametrize("group", MODERN)
def test_a_choice_is_left_out_or_taken_alone(group):
    short = group.rsplit("/", 1)[-1]
    others = {other: option for other, option in MODERN.items() if other != group}
    assert configured(f"stack=modern_without_{short}") == configured(*typed(others))
    assert configured(f"stack=modern_only_{short}") == configured(*typed({group: MODERN[group]}))


@pytest.mark.parametrize(("experiment", "kind"), [("leave_one_out", "without"), ("add_one", "only")])
def test_the_experiments_have_an_arm_for_each_choice(experiment, kind):
    sweep = expand_sweep([f"experiment={experiment}"])
    whole = "modern" if kind == "without" else "none"
    named = {f"stack=modern_{kind}_{group.rsplit('/', 1)[-1]}" for group in MODERN}
    assert {*sweep.arms} == named | {f"stack={whole}"}


# Files that are no stack; one line is one more of them.
BROKEN = {
    "broken": b"defaults: [",
    "deep": b"defaults: " + b"[" * 5000,
    "unknown": b"# @package _global_\ndefaults: [{override /model/pos: nothing}]\n",
    "binary": b"\xff\xfe\x00",
    "number": b"3",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    (folder / "stack").mkdir(parents=True)
    text = (
        "# @package _global_\ndefaults: [{override /model/pos: nope}, {override /model/attn: gqa}]\noptim: {lr: 0.5}\n"
    )
    (folder / "stack" / "mine.yaml").write_text(text)
    for name, text in BROKEN.items():
        (folder / "stack" / f"{name}.yaml").write_bytes(text)
    (folder / "stack" / "plain.yaml").write_text("# @package _global_\noptim: {lr: 0.25}\n")
    return folder


def test_a_stack_of_ones_own_keeps_its_other_keys_when_a_choice_is_left_out(own):
    sweep = expand_sweep(["-m", "--config-dir", str(own), "stack=glob(mine*)"])
    keys = ("model/pos", "model/attn")
    found = {arm: (*map(job.choices.get, keys), job.cfg.optim.lr) for arm, job in sweep.arms.items()}
    rate = configured().optim.lr
    assert found == {
        "stack=mine": ("nope", "gqa", 0.5),
        "stack=mine_without_pos": ("rope", "gqa", 0.5),
        "stack=mine_without_attn": ("nope", "mha", 0.5),
        "stack=mine_only_pos": ("nope", "mha", rate),
        "stack=mine_only_attn": ("rope", "gqa", rate),
    }


def test_another_project_does_not_see_them(own):
    expand_sweep(["-m", "--config-dir", str(own), "stack=glob(mine*)"])
    assert exit_code(["stack=mine_only_pos"], "lmablate.plan") == 2


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stack_disturbs_only_who_chooses_it(name, own, capsys):
    assert expand_sweep(["--config-dir", str(own), "stack=plain"]).jobs[0].cfg.optim.lr == 0.25
    assert exit_code(["--config-dir", str(own), f"stack={name}"], "lmablate.plan") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_generated_arms_train_in_processes_of_their_own(tmp_path):
    arms = "stack=none,modern_only_mixer,modern_without_act"
    assert exit_code(["-m", *overrides(tmp_path), "hydra/launcher=local_parallel", "model.n_heads=4", arms]) == 0
    assert len(all_runs(tmp_path / "runs")) == 3
