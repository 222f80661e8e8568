"""One reading of the command line for all commands that compose configs; each table's next input is one line."""

import os
import shlex
from pathlib import Path

import pytest

from lmablate.config.command_line import parse_command_line
from lmablate.config.compose import config_folder, plain_sweeps
from lmablate.errors import UserError
from lmablate.sweep.jobs import expand_sweep
from tests.tiny import exit_code

# Values that Hydra's grammar takes for a number or a boolean, although a name or an option was meant.
QUOTED = [
    ("model/tying=true", 'model/tying="true"'),
    ("model/tying=true,false", 'model/tying="true","false"'),
    ("model/tying=choice(true,false)", 'model/tying=choice("true","false")'),
    ("model/tying=sort(true,false,reverse=true)", 'model/tying=sort("true","false",reverse=true)'),
    ("+model/tying=False", '+model/tying="False"'),
    ("model/tying@model.tying=true", 'model/tying@model.tying="true"'),
    ("experiment=2024", 'experiment="2024"'),
    ("name=2024_11_25", 'name="2024_11_25"'),
    ("name=1e3", 'name="1e3"'),
    ("name=true", 'name="true"'),
    ("name=.5", 'name=".5"'),
    ("name=nan", 'name="nan"'),
    ("name=007", "name=007"),
    ("name=2024-11-25", "name=2024-11-25"),
    ("name=1_0,2_0", 'name="1_0","2_0"'),
    ("name=run_1", "name=run_1"),
    ("runs_dir=2024", 'runs_dir="2024"'),
    ("train.precision=1", 'train.precision="1"'),
    ('name="1_0"', 'name="1_0"'),
    ("name=${oc.env:HOME}", "name=${oc.env:HOME}"),
    ("seed=1_0", "seed=1_0"),
    ("seed=range(1,3)", "seed=range(1,3)"),
    ("model/tying=range(1,3)", "model/tying=range(1,3)"),
    ("train.compile=true", "train.compile=true"),
    ("hydra/launcher=basic", "hydra/launcher=basic"),
    ("data.train=/a/true", "data.train=/a/true"),
    ("runs_dir=~/runs", 'runs_dir="~/runs"'),
    ("data.train=/a=b", 'data.train="/a=b"'),
    ("data.train=/a b/c (1).txt", 'data.train="/a b/c (1).txt"'),
    ("data.train=/größe/#1&2", 'data.train="/größe/#1&2"'),
    ("seed=range(3", 'seed="range(3"'),
    ("name=ünï", 'name="ünï"'),
]


@pytest.mark.parametrize(("typed", "seen"), QUOTED)
def test_a_name_that_looks_like_a_number_or_a_boolean_stays_a_name(typed: str, seen: str) -> None:
    assert parse_command_line([typed]).overrides == [seen]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("name=2024_11_25", "2024_11_25"),
        ("name=1e3", "1e3"),
        ("name=True", "True"),
        ("name=007", "007"),
        ("name=1.50", "1.50"),
        ("name=inf", "inf"),
        ("name=+5", "+5"),
    ],
)
def test_the_name_of_an_experiment_is_what_was_typed(typed: str, name: str) -> None:
    assert expand_sweep([typed]).jobs[0].cfg.name == name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weight_tying"], "did you mean experiment=weight_tying?"),
        (["weight_tyin"], "did you mean experiment=weight_tying?"),
        (["rope"], "did you mean model/pos=rope?"),
        (["LLAMA"], "=llama?"),
        (["qwertz"], "--help lists the keys"),
        ([""], "An argument is empty"),
        ([" "], "An argument is empty"),
        (["--bogus"], "--bogus is not a flag"),
        (["--multrun"], "did you mean --multirun?"),
        (["--seed=3"], "did you mean seed=3?"),
        (["-seed=3"], "did you mean seed=3?"),
        (["--cfg=job"], "--cfg=job is a flag of lmablate.train"),
        (["--cfg"], "expected one argument"),
        (["--info", "seed=1"], "argument -i/--info: invalid choice: 'seed=1'"),
        (["--config-dir"], "expected one argument"),
        (["-cd", "a", "--config-dir", "b"], "--config-dir is given twice"),
        (["--config-dir=a", "-cd", "b"], "-cd is given twice"),
        (["-cn", "../x"], "Cannot find primary config '../x'"),
        (["-cn", "config", "-cn", "config"], "-cn is given twice"),
        (["--config-dir", "seed=1", "-cd", "b"], "-cd is given twice"),
        (["-cd", "/nowhere"], "--config-dir /nowhere is not a folder"),
        (["-cp", "/nowhere"], "--config-path /nowhere is not a folder"),
        (["data.train=/a=b,c"], """'data.train="/a=b,c"'"""),
        (["data.train=/a[1]=b"], """'data.train="/a[1]=b"'"""),
        (["runs_dir=[x"], "put a value with special characters in quotes"),
        (["name='a"], "put a value with special characters in quotes"),
        (["seed={1"], "seed={1 cannot be read"),
        (["=3"], "=3 has no key"),
        (["model/pos=[rope,sin]"], "choose one"),
        (["model/pos=/rope"], "an option has a name, which is no path"),
        (["model/pos=../pos/rope"], "an option has a name, which is no path"),
        (["experiment=../experiment/llama"], "an option has a name, which is no path"),
        (["-m", "model/pos=rope,../pos/nope"], "an option has a name, which is no path"),
        (["experiment=null"], "~experiment chooses no option of the group"),
        (["model/pos=null"], "~model/pos chooses no option of the group"),
        (["-m", "seed=1,2", "seed=3"], "seed is given twice: seed=3 would replace seed=1,2"),
        (["-m", "model/pos=rope,nope", "model/pos=sin"], "model/pos is given twice"),
        (["-m", "model/pos=glob(z*)"], "matches none of alibi, learned"),
        (["-m", "seed=glob(*)"], "seed=glob(*) is a sweep over nothing"),
        (["-m", "seed=range(0)"], "seed=range(0) is a sweep over nothing"),
        (["-m", "seed=range(3,3)"], "is a sweep over nothing"),
        (["-m", "optim.lr=range(0,1,-1)"], "is a sweep over nothing"),
        (["-m", "seed=range(1,2,0)"], "seed=range(1,2,0) cannot be read (range() arg 3 must not be zero)"),
        (["-m", "seed=interval(0,1)"], "a sweep is over values"),
        (["-m", "model/pos=range(3)"], "a sweep is over options of the group"),
        (["-m", "seed=range(0,1000000000)"], "a sweep may have at most 10000"),
        (["-m", "experiment=positional_encoding,activation"], "is a sweep over sweeps"),
        (["-m", "experiment=glob(norm*)"], "is a sweep over sweeps"),
        (["experiment=choice(warmup,llama)", "-m"], "is a sweep over sweeps"),
        (["-m", "experiment=llama,null"], "is a sweep over sweeps"),
        (["-m", "+experiment=warmup,llama"], "experiment"),
        (["a" * 5000], "is not KEY=VALUE"),
        (["seed=" + "[" * 99], "cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["train", "plan", "audit", "status", "lr_sweep", "prepare"])
def test_a_command_line_that_cannot_be_read_gets_one_sentence(
    command: str, arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command in ("train", "prepare") and arguments == ["--cfg=job"]:
        pytest.skip("this command has the flag")
    if command == "status" and not any("=" in a or a.startswith("-") for a in arguments):
        words = {"": "is not a path", "a": "ile name too long"}.get(arguments[0][:1], "is not a folder")
    runs_dir = [] if command == "status" else [f"runs_dir={tmp_path / 'runs'}"]
    assert exit_code([*runs_dir, *arguments], f"lmablate.{command}") == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert printed.err.strip().splitlines()[-1].startswith("lmablate: ")
    assert list(tmp_path.iterdir()) == []


# An override that does not compose, and what the sentence says instead of Hydra's "To append to your config use +...".
MISSPELLED = [
    ("train.max_step=2", "did you mean train.max_steps?"),
    ("trian.max_steps=2", "did you mean train.max_steps?"),
    ("max_steps=2", "did you mean train.max_steps?"),
    ("optim.LR=1", "did you mean optim.lr?"),
    ("lr=1", "did you mean optim.lr?"),
    ("model/po=rope", "did you mean model/pos?"),
    ("mdoel/pos=rope", "did you mean model/pos?"),
    ("pos=rope", "did you mean model/pos?"),
    ("model/pos=rop", "did you mean rope?"),
    ("experiment=weight_tyin", "did you mean weight_tying?"),
    ("hydra/launcher=slrm", "did you mean slurm?"),
    ("hydra.launcher.n_job=1", "hydra.launcher.n_job is not a key"),
    ("data.train=/x", "data.train is not a key of the config: data has"),
    ("scale.foo=1", "scale.foo is not a key of the config: scale has"),
    ("a.b.c=1", "--help lists them"),
    ("~model.foo", "model.foo is not a key"),
    ("~seed", "seed is missing from the config"),
    ("+train.max_steps=2", "train.max_steps is in the config already: leave out the +"),
    ("+model.foo=1", "model.foo is not a key of the config"),
    ("++train.foo=1", "train.foo is not a key of the config"),
    ("+foo=1", "foo is not a key of the config"),
    ("seed=a", "seed=a is not allowed: it must be a whole number"),
    ("seed=1.5", "it must be a whole number"),
    ("seed=true", "it must be a whole number"),
    ("seed=null", "it must have a value"),
    ("optim.lr=fast", "it must be a number"),
    ("optim.betas=3", "it must be a list"),
    ("optim.betas=[0.9]", "optim.betas"),
    ("train=3", "it has keys of its own"),
    ("model.pos=rope", "model.pos=rope is not allowed: choose an option of its group"),
    ("seed=${nope}", "nope"),
    ("seed=${oc.env:LMABLATE_NOWHERE}", "LMABLATE_NOWHERE"),
    ("seed=${oc.env:TEXT}", "seed"),
]


@pytest.mark.parametrize(("typed", "words"), MISSPELLED)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_misspelled_override_is_answered_with_what_was_meant(
    command: str,
    typed: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEXT", "three")
    assert exit_code([typed, f"runs_dir={tmp_path / 'runs'}", f"data_dir={tmp_path}"], f"lmablate.{command}") == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence
    assert "use +" not in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_is_trained_only_with_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["seed=1,2"]) == 2
    assert "seed=1,2 has several values: -m makes a sweep of them" in capsys.readouterr().err


def test_the_advised_quotes_work(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        parse_command_line(["runs_dir=/a b/c=d (1)'\"x"])
    (advised,) = shlex.split(str(error.value).split("in quotes, ")[1].removesuffix("."))
    assert expand_sweep([advised]).jobs[0].cfg.runs_dir == "/a b/c=d (1)'\"x"


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("model/tying=glob(*)", 'model/tying="false","true"'),
        ("model/tying=choice(true,false)", 'model/tying="true","false"'),
        ("model/pos=choice(rope,nope)", "model/pos=rope,nope"),
        ("model/pos=glob(*,exclude=[alibi,learned,*_*])", "model/pos=nope,rope,sin,yarn"),
        ("model/pos=sort(sin,nope)", "model/pos=nope,sin"),
        ("seed=choice(1,2)", "seed=choice(1,2)"),
        ("optim.lr=1e-3,1e-2", "optim.lr=1e-3,1e-2"),
    ],
)
def test_a_sweep_over_options_is_written_out(typed: str, seen: str) -> None:
    with config_folder():
        assert plain_sweeps(parse_command_line(["-m", typed])).overrides == [seen]


@pytest.fixture
def own_configs(tmp_path: Path) -> Path:
    """A folder with an experiment, a scale and a group option of a user."""
    files = {
        "experiment/mine.yaml": "# @package _global_\nname: mine\nhydra:\n  mode: MULTIRUN\n"
        "  sweeper: {params: {model/tying: 'true,false', seed: '0,1'}}\n",
        "experiment/1_0.yaml": "# @package _global_\nname: '1_0'\n",
        "model/pos/fast_rope.yaml": "defaults: [rope]\ntheta: 500\n",
    }
    for name, text in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-dir", "-cd", "relative", "searchpath"])
@pytest.mark.parametrize("command", ["train", "plan", "status", "lr_sweep", "audit", "prepare"])
def test_every_command_finds_the_users_own_configs(
    command: str, flag: str, own_configs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_configs.parent)
    flags = {
        "relative": ["--config-dir=own"],
        "searchpath": [f"hydra.searchpath=[file://{own_configs}]"],
    }.get(flag, [flag, str(own_configs)])
    assert (
        exit_code([*flags, "experiment=mine", "optim.weight_decay=-1", "hydra/launcher=basic"], f"lmablate.{command}")
        == 2
    )
    assert "optim.weight_decay=-1.0 is not allowed" in capsys.readouterr().err


def test_the_users_own_configs_sweep_as_others_do(own_configs: Path) -> None:
    os.environ.pop("SEED", None)
    sweep = expand_sweep(["-cd", str(own_configs), "experiment=mine"])
    assert list(sweep.arms) == ["tying=true", "tying=false"]
    sweep = expand_sweep(["-m", "-cd", str(own_configs), "model/pos=glob([fast_rope,rope])"])
    assert list(sweep.arms) == ["pos=fast_rope", "pos=rope"]
    assert expand_sweep(["-cd", str(own_configs), "experiment=1_0"]).jobs[0].cfg.name == "1_0"


# What a user's own experiment holds, and what the sentence about it says.
YAML_MISTAKES = [
    ("seed: x", "In experiment/mine: seed=x is not allowed: it must be a whole number."),
    ("optim: {lr: fast}", "In experiment/mine: optim.lr=fast is not allowed: it must be a number."),
    ("nope: 1", "In experiment/mine: nope is not a key of the config"),
    (
        "train: {max_step: 1}",
        "In experiment/mine: train.max_step is not a key of the config: did you mean train.max_steps?",
    ),
    ("model: null", "In experiment/mine: model is not allowed: it must have a value."),
    ("train: 3", "In experiment/mine: a value is not allowed: it has keys of its own"),
    ("[]", "In experiment/mine: a value is not allowed: it has keys, and is no list"),
    ("name: ${nope}", "name: Interpolation key 'nope' not found."),
    ("name: ${oc.env:LMABLATE_NOWHERE}", "name: Environment variable 'LMABLATE_NOWHERE' not found."),
    ("hydra: {mode: FAST}", "In experiment/mine: hydra.mode: Invalid value 'FAST', expected one of [RUN, MULTIRUN]."),
    ("hydra: {sweeper: {params: {seed: null}}}", "hydra.sweeper.params.seed is not allowed: it must have a value."),
    ("hydra: {sweeper: {params: {seed: '0,'}}}", "seed=0, cannot be read (mismatched input '<EOF>'): put"),
    ("hydra: {mode: MULTIRUN, sweeper: {params: {experiment: 'llama,aa'}}}", "give each its own command"),
    ("&a [*a]", "A config contains itself"),
    ("defaults: [nope]", "experiment=nope does not exist"),
    ("hydra: null", "A value is of a kind that Hydra does not take there"),
    ("3", "Invalid loaded object type: int"),
    ("defaults: 3", "defaults must be a list"),
    ("defaults: [{a: b, c: d}]", "In experiment/mine"),
    ("hydra: 3", "In experiment/mine: a value is not allowed: it has keys of its own"),
    ("a: b: c", "mapping values are not allowed here"),
    ("name: a\nname: b", "found duplicate key name"),
]


# References of an experiment that is swept over, to what its scale does not have.
DANGLING = [
    ("optim: {lr: '${scale.nowhere}'}", "optim.lr: Interpolation key 'scale.nowhere' not found"),
    ("model: {d_ff: '${scale.large.nowhere}'}", "model.d_ff: Interpolation key 'scale.large.nowhere' not found"),
    ("data: {max_bytes: '${nowhere}'}", "data.max_bytes: Interpolation key 'nowhere' not found"),
]


@pytest.mark.parametrize(("text", "words"), DANGLING)
def test_a_sweep_with_a_reference_that_leads_nowhere_does_not_begin(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    body = f"# @package _global_\nname: mine\n{text}\nhydra: {{mode: MULTIRUN, sweeper: {{params: {{seed: '0,1'}}}}}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(body)
    typed = ["-cd", str(tmp_path), "experiment=mine", f"runs_dir={tmp_path / 'runs'}", f"data_dir={tmp_path / 'data'}"]
    assert exit_code(typed, "lmablate.train") == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["experiment"]


@pytest.mark.parametrize(("text", "words"), YAML_MISTAKES)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_mistake_in_a_users_own_config_is_one_sentence(
    command: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    arguments = [
        "-cd",
        str(tmp_path),
        "experiment=mine",
        f"runs_dir={tmp_path / 'runs'}",
        f"data_dir={tmp_path / 'data'}",
    ]
    assert exit_code(arguments, f"lmablate.{command}") == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence
    assert not {"full_key", "object_type", "raised while"} & set(sentence.replace(":", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["experiment"]
