"""What can be checked is checked before the first byte is written; each table's next input is one line."""

import os
from pathlib import Path

import pytest

from tests.tiny import exit_code

# A mistake in an override, and words of the sentence.
REFUSED = [
    # names that become files
    ("name=a/b", "name='a/b' is not allowed: it names a file"),
    ("name=/etc/victim", "it names a file"),
    ("name=../../victim", "it names a file"),
    ("name=..", "it names a file"),
    ("name=.hidden", "it names a file"),
    ("name=-x", "it names a file"),
    ("name=", "name='' is not allowed"),
    ("name=" + "x" * 200, "(200 characters)"),
    ("name=" + "x" * 101, "1 to 100 letters"),
    ("name=a b", "it names a file"),
    ("name=ünï", "it names a file"),
    ("name='a\\nb'", "it names a file"),
    ("name=null", "name=None is not allowed"),
    ("name=all", "no experiment may be called all"),
    ("name=x.runs", "or end in .runs"),
    # seeds
    ("seed=-1", "seed=-1 is not allowed: it must be between 0 and 9223372036854775807"),
    ("seed=9223372036854775808", "it must be between 0 and"),
    ("seed=1" + "0" * 400, "it must be between 0 and"),
    # values that only the training loop would meet
    ("train.precision=bf15", "train.precision='bf15' is not allowed: choose fp32 or bf16"),
    ("train.precision=16", "choose fp32 or bf16"),
    ("train.precision=null", "train.precision=None is not allowed: it must be text"),
    ("train.compile=2", "train.compile=2 is not allowed: it must be true or false"),
    ("train.compile=maybe", "it must be true or false"),
    ("skip_failed=1", "it must be true or false"),
    ("train.device=tpu", "train.device=tpu is not allowed: choose auto, cpu, cuda"),
    ("train.device=cuda:99", "train.device=cuda:99 is not on this machine"),
    ("train.device=cpu:x", "train.device=cpu:x is not allowed"),
    ("train.log_every=0", "it must be at least 1"),
    ("train.keep_checkpoints=1", "it must be at least 2"),
    ("optim.betas=[0.9]", "it must be two numbers"),
    ("optim.betas=[0.9,1.0]", "it must be two numbers"),
    ("optim.eps=-1", "it must be at least 0"),
    ("optim.lr=nan", "it must be at least 0 and finite"),
    ("optim.lr=inf", "it must be at least 0 and finite"),
    ("optim.grad_clip=0", "it must be positive"),
    ("optim.grad_clip=nan", "it must be positive"),
    # tracking, probes and other classes
    ("tracking=wandb_offline tracking.mode=onlin", "tracking.mode='onlin' is not allowed: it must be one of online"),
    ("tracking=wandb_offline tracking.mode=true", "it must be one of online, offline"),
    ("tracking=wandb_offline tracking.project=a/b", "tracking.project='a/b' is not allowed"),
    ("tracking=wandb_offline tracking.project=", "tracking.project='' is not allowed"),
    ("tracking=wandb_offline tracking.project=a:b", "tracking.project='a:b' is not allowed"),
    ("tracking=wandb_offline tracking.project=" + "x" * 129, "is not allowed"),
    ("tracking=wandb_offline tracking.project=2024_11_25", "it must be text, in quotes"),
    ("tracking=wandb_offline +tracking.speed=1", "tracking.speed is not an argument of"),
    ("tracking=tensorboard tracking.folder=3", "tracking.folder=3 is not allowed: it must be a path or null"),
    ("tracking=tensorboard tracking.folder=", "tracking.folder='' is not a path"),
    ("tracking=tensorboard tracking.folder=~nobody-here/x", "there is no such user's home folder"),
    ("tracking=tensorboard +tracking.dir=x", "tracking.dir is not an argument of"),
    ("tracking=wandb_and_tensorboard tracking.trackers.wandb.mode=onlin", "tracking.trackers.wandb.mode='onlin' is"),
    ("tracking=wandb_and_tensorboard tracking.trackers.wandb.project=a/b", "tracking.project='a/b' is not allowed"),
    ("tracking=wandb_and_tensorboard +tracking.trackers.wandb.speed=1", "tracking.trackers.wandb.speed is not an arg"),
    ("tracking=wandb_and_tensorboard tracking.trackers.tensorboard.folder=3", "it must be a path or null"),
    ("tracking=wandb_and_tensorboard tracking.trackers=null", "must name at least one"),
    ("tracking=wandb_and_tensorboard +tracking.trackers.own=3", "tracking.trackers.own is not allowed: it must be a"),
    ("tracking=wandb_and_tensorboard +tracking.trackers.own._target_=os.system", "_target_=os.system is refused"),
    ("tracking=tensorbord", "tracking=tensorbord does not exist: did you mean tensorboard?"),
    ("diagnostics.probes=null", "it must have a list `probes`"),
    ("diagnostics.probes=[3]", "diagnostics.probes.0=3 is not allowed"),
    ("model/pos=rope model.pos.theta=0", "model.pos.theta=0 is not allowed"),
    ("+model.act.slope=1", "model.act.slope is not an argument of"),
    ("model.init.salt=1", "model.init.salt=1 is not allowed: it must be text"),
    ("model.norm.kind=batchnorm", "choose one of rmsnorm, layernorm"),
    ("model.d_model=15", "cannot be split"),
    ("match=params match.by=nonsense", "match"),
    ("data.max_bytes=0", "data.max_bytes"),
    ("data.max_bytes=many", "data.max_bytes='many' is not allowed"),
    ("data.train=~nobody-here/x", "there is no such user's home folder"),
    ("runs_dir=", "runs_dir='' is not a path"),
    ("data_dir=", "data_dir='' is not a path"),
    ("runs_dir=~nobody-here/x", "there is no such user's home folder"),
    ("runs_dir=null", "runs_dir=None is not a path"),
]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=lambda value: value[:60])
def test_a_mistake_is_refused_before_anything_is_written(
    typed: str, words: str, corpus: list[str], empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*(o for o in corpus if not o.startswith(typed.split("=")[0] + "=")), *split(typed)]
    assert exit_code(overrides) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence
    assert list(empty.iterdir()) == []


def split(typed: str) -> list[str]:
    """Return several overrides one by one; a space inside a name is part of it."""
    return typed.split(" ") if " " in typed and "=" in typed.split(" ")[-1] else [typed]


# Names of experiments in a yaml, where YAML itself would turn some into numbers.
IN_A_YAML = [
    ("2024_11_25", "name=20241125 is not allowed: it must be text, in quotes"),
    ("1e3", "it must be text, in quotes"),
    ("yes", "it must be text, in quotes"),
    ("0o17", None),
    ("017", "it must be text, in quotes"),
    ("1:30", "it must be text, in quotes"),
    ("null", "name=None is not allowed"),
    ("[a]", "it must be text, in quotes"),
    ("../../../victim.txt", "it names a file"),
    ("/tmp/victim.txt", "it names a file"),
    ('"2024_11_25"', None),
    ("run_2", None),
]


@pytest.mark.parametrize(("name", "words"), IN_A_YAML)
def test_a_name_in_a_yaml_is_text_or_refused(
    name: str, words: str | None, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(f"# @package _global_\nname: {name}\n")
    code = exit_code(["-cd", str(tmp_path / "own"), "experiment=mine", "optim.weight_decay=-1"])
    assert code == 2
    assert (words or "optim.weight_decay=-1.0 is not allowed") in capsys.readouterr().err
    assert list(empty.iterdir()) == []


# Variables that somebody else's shell may hold.
ENVIRONMENTS = [
    ({"OMP_NUM_THREADS": "abc"}, "The environment has OMP_NUM_THREADS=abc: it must be a whole number"),
    ({"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS=0"),
    ({"OMP_NUM_THREADS": "-2"}, "OMP_NUM_THREADS=-2"),
    ({"OMP_NUM_THREADS": "4,x"}, "OMP_NUM_THREADS=4,x"),
    ({"OMP_NUM_THREADS": "1.5"}, "OMP_NUM_THREADS=1.5"),
    ({"OMP_NUM_THREADS": "²"}, "OMP_NUM_THREADS=²"),
    ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 but no RANK, MASTER_ADDR, MASTER_PORT"),
    ({"WORLD_SIZE": "2", "RANK": "0"}, "but no MASTER_ADDR, MASTER_PORT"),
    ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}, "RANK=2: it must be a whole number"),
    ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "h", "MASTER_PORT": "http"}, "MASTER_PORT=http"),
    ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4x"}, "SLURM_STEP_NUM_TASKS=4x"),
    ({"WANDB_MODE": "onlin"}, "WANDB_MODE=onlin: it must be one of online"),
    ({"WANDB_MODE": "0"}, "WANDB_MODE=0"),
]


@pytest.mark.parametrize(("variables", "words"), ENVIRONMENTS, ids=str)
def test_a_variable_that_makes_no_sense_is_named(
    variables: dict[str, str],
    words: str,
    corpus: list[str],
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert exit_code([*corpus, "tracking=wandb_offline"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence
    assert list(empty.iterdir()) == []


# Variables with which one process still trains alone.
HARMLESS = [
    {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "77"},
    {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    {"SLURM_NTASKS": "4", "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
    {"SLURM_NTASKS": "4(x2)"},
    {"OMP_NUM_THREADS": ""},
    {"OMP_NUM_THREADS": "4,2"},
    {"OMP_NUM_THREADS": " 2 "},
    {"WORLD_SIZE": "1", "RANK": "7"},
    {"WORLD_SIZE": ""},
    {"WANDB_MODE": "disabled"},
    {"WANDB_MODE": ""},
    {"WANDB_MODE": "dryrun"},
    {"WANDB_DISABLED": "true"},
    {"COLUMNS": "abc"},
    {"MPLBACKEND": "nonsense"},
    {"TMPDIR": "/nowhere"},
    {"LMABLATE_SCALAR": "perhaps"},
]


@pytest.mark.parametrize("variables", HARMLESS, ids=str)
def test_other_variables_change_nothing(
    variables: dict[str, str], corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny import SMALL

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert exit_code([*SMALL, *corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=1"]) == 0


def test_training_needs_a_compiler_only_to_compile(
    corpus: list[str], empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    assert exit_code([*corpus, "train.compile=true"]) == 2
    assert "train.compile=true needs a C++ compiler" in capsys.readouterr().err
    assert os.listdir(empty) == []
