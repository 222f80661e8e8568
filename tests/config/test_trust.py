"""A config from somebody else builds nothing but lmablate's classes, and runs nothing at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build
from lmablate.config.schema import CONF
from lmablate.config.trust import is_our_class, refuse_foreign_classes, refuse_unsafe_config
from lmablate.errors import UserError
from tests.tiny import configured, every_choice, exit_code

FOREIGN = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.load",
    "lmablate",
    "lmablate.runs.run.os.system",
    "lmablate.model.init.math.exp",
    "lmablate.data.corpora.os.system",
    "lmablate.model.torch.load",
    "lmablate.model.nn.Linear",
    "lmablate.data.prepare.prepare",
    "lmablate.files.write_bytes",
    "lmablate.runs.metrics.MetricsLog",
    "lmablate.training.Trainer",
    "lmablate.training.trainer.Trainer",
    "lmablate.training.Recipe",
    "lmablate.training.cosine_schedule",
    "lmablate.model.Transformer.forward",
    "lmablate.model.__class__",
    "lmablate.model.RoPE.__init__.__globals__",
    "lmablate..model.RoPE",
    "lmablate.model.RoPE\n",
    "lmablate.model.ＲoPE",
    "lmablate_evil.model.RoPE",
    "xlmablate.model.RoPE",
    "",
    "['os.system']",
]


@pytest.mark.parametrize("target", FOREIGN, ids=repr)
def test_only_classes_that_lmablate_defines_are_built(target: str) -> None:
    assert not is_our_class(target)


@pytest.mark.parametrize(
    "hide",
    [
        lambda target: {"_target_": target},
        lambda target: {"a": [{"b": {"_target_": target}}]},
        lambda target: {"_target_": "lmablate.model.RoPE", "_args_": [{"_target_": target}]},
        lambda target: {"_target_": "lmablate.model.RoPE", "theta": {"_target_": target, "_args_": ["true"]}},
        lambda target: {"x": target, "y": {"_target_": "${..x}"}},
        lambda target: {"y": "${oc.create:{_target_:" + target + "}}"},
    ],
)
def test_a_target_is_found_wherever_it_hides(hide: Callable[[str], dict[str, Any]]) -> None:
    node = OmegaConf.create(hide("os.system"))
    assert isinstance(node, DictConfig)
    with pytest.raises(UserError, match=r"^_target_=os\.system is refused: [^\n]*\.$"):
        build(node)


def test_every_class_that_conf_names_is_allowed() -> None:
    for choices in every_choice():
        refuse_foreign_classes(OmegaConf.to_container(configured(*choices, "diagnostics=full"), resolve=True))
    for path in CONF.glob("*/**/*.yaml"):
        if path.parent.name != "launcher":
            refuse_foreign_classes(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


HYDRA: dict[str, Any] = {
    "callbacks": {"failures": {"_target_": "lmablate.config.hydra_entry.ReportFailures"}},
    "launcher": {"_target_": "hydra_plugins.lmablate_launchers.local_parallel.LocalParallelLauncher"},
    "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"},
    "job_logging": {"root": None},
    "hydra_logging": {"root": None},
    "job": {"env_set": {}},
}
EVIL = {"_target_": "os.system", "command": "true"}
HANDLER = {"root": {"handlers": ["x"]}, "handlers": {"x": {"()": "os.system"}}}


def test_the_hydra_section_of_conf_is_allowed() -> None:
    refuse_unsafe_config(OmegaConf.create({"hydra": HYDRA}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"callbacks": {"x": EVIL}}, "hydra.callbacks is refused"),
        ({"callbacks": "${oc.create:{x:{_target_:os.system}}}"}, "hydra.callbacks is refused"),
        ({"launcher": HYDRA["launcher"] | {"n_jobs": EVIL}}, "_target_=os.system in hydra.launcher"),
        ({"sweeper": HYDRA["sweeper"] | {"params": [EVIL]}}, "_target_=os.system in hydra.sweeper"),
        ({"job_logging": HANDLER}, "hydra.job_logging is refused"),
        ({"hydra_logging": "${x}"}, "hydra.hydra_logging is refused"),
        ({"job": {"env_set": {"LD_PRELOAD": "./x.so"}}}, "hydra.job.env_set is refused"),
    ],
)
def test_what_hydra_itself_would_call_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse_unsafe_config(OmegaConf.create({"hydra": HYDRA | change}))


def write_evil_experiment(folder: Path, hydra_section: str) -> list[str]:
    """Write a config outside conf/, and return the overrides that choose it when `folder` is the working directory."""
    (folder / "evil_conf" / "experiment").mkdir(parents=True)
    text = f"# @package _global_\nhydra: {hydra_section}\n"
    (folder / "evil_conf" / "experiment" / "evil.yaml").write_text(text)
    return ["experiment=evil", "hydra.searchpath=[file://evil_conf]"]


def assert_refused(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Check that `train`, started in `folder`, refuses the arguments, calls nothing and leaves nothing there.

    Returns:
        The only sentence that it prints.
    """
    monkeypatch.chdir(folder)
    assert exit_code([f"runs_dir={folder / 'runs'}", *arguments]) == 2
    sentences = capsys.readouterr().err.strip().splitlines()
    assert len(sentences) == 1, sentences
    assert sentences[0].startswith("lmablate: ")
    assert not (folder / "canary").exists()
    assert not (folder / "runs").exists()
    return sentences[0]


# Each leaves a file named canary when it is called. The blocklist of Hydra 1.3.8 has os.system, but not FileHandler.
CANARIES = ["{_target_: os.system, command: touch canary}", "{_target_: logging.FileHandler, filename: canary}"]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(
    "arguments",
    [
        ["+hydra.callbacks.x=CANARY"],
        ["+model.pos.x=CANARY"],
        ["-m", "+hydra.launcher.x=CANARY"],
        ["-m", "+hydra.sweeper.x=CANARY"],
    ],
    ids=" ".join,
)
def test_the_command_line_runs_nothing_foreign(
    arguments: list[str],
    canary: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused([argument.replace("CANARY", canary) for argument in arguments], tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("canary", CANARIES)
def test_a_config_outside_conf_runs_nothing_foreign(
    canary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = write_evil_experiment(tmp_path, f"{{callbacks: {{x: {canary}}}}}")
    assert_refused(evil, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["+hydra.callbacks.x={_target_: lmablate.runs.run.os.system, command: touch canary}"],
        ["-m", "hydra.launcher._target_=os.system", "+hydra.launcher.command=touch canary"],
    ],
    ids=" ".join,
)
def test_no_other_spelling_of_a_foreign_target_runs(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(arguments, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "text",
    [
        "${oc.create:{_target_:logging.FileHandler,filename:canary}}",
        '${oc.decode:"{_target_:logging.FileHandler,filename:canary}"}',
    ],
)
def test_text_in_the_hydra_section_does_not_become_a_target(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = write_evil_experiment(tmp_path, f"{{launcher: {{n_jobs: '{text}'}}}}")
    sentence = assert_refused(["-m", *evil], tmp_path, monkeypatch, capsys)
    assert "Unsupported interpolation type oc." in sentence


# What a project that one has merely downloaded may try, as a file of it; its package `canary` leaves a file when it is
# imported, and so does each call.
CANARY = "open('canary.txt', 'w').close()\nclass Mine:\n    pass\n"
PROJECT = "[tool.lmablate]\ntitle = 'Theirs'\n"
THEIRS: dict[str, dict[str, str]] = {
    "a class of its package": {"conf/model/pos/x.yaml": "_target_: canary.Mine\n_partial_: true\n"},
    "a class in a probe": {"conf/diagnostics/x.yaml": "probes: [{_target_: canary.Mine}]\n"},
    "a corpus": {"conf/data/x.yaml": "_target_: canary.Mine\n"},
    "a match": {"conf/match/x.yaml": "_target_: canary.Mine\n"},
    "a tracker": {"conf/tracking/x.yaml": "_target_: canary.Mine\n"},
    "an experiment that is more": {
        "conf/experiment/x.yaml": "# @package _global_\nmodel: {act: {_target_: canary.Mine}}\n"
    },
    "its package as a search path": {
        "conf/config.yaml": "defaults: [schema, {model/pos: rope}]\nhydra: {searchpath: [pkg://canary]}\n"
    },
    "a module as a search path": {
        "conf/config.yaml": "defaults: [schema]\nhydra: {searchpath: ['pkg://canary/sub', file://conf]}\n"
    },
    "a name in the pyproject": {"pyproject.toml": "[tool.lmablate]\ntrust = 'canary'\n"},
    "a callback of Hydra's": {
        "conf/experiment/x.yaml": "# @package _global_\nhydra: {callbacks: {x: {_target_: canary.Mine}}}\n"
    },
    "a launcher": {"conf/hydra/launcher/x.yaml": "_target_: canary.Mine\n"},
    "a class beside lmablate's": {"conf/model/pos/x.yaml": "_target_: lmablate.model.canary.Mine\n"},
}

# What only Hydra would call, so `plan`, which launches nothing, does not look at it.
OF_HYDRA = ("a callback of Hydra's", "a launcher")


@pytest.mark.parametrize("command", ["train", "plan"])
@pytest.mark.parametrize("theirs", THEIRS)
def test_a_project_that_is_merely_there_runs_nothing(
    theirs: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"pyproject.toml": PROJECT, "canary/__init__.py": CANARY, "canary/sub/__init__.py": CANARY}
    files |= THEIRS[theirs]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (chosen,) = THEIRS[theirs]
    group = str(Path(chosen).parent).removeprefix("conf/")
    choice = [] if chosen in ("conf/config.yaml", "pyproject.toml") else [f"{group}=x"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` does
    code = exit_code(["-m", *choice, "seed=0"], f"lmablate.{command}")
    assert not (tmp_path / "canary.txt").exists()
    if command == "plan" and theirs in OF_HYDRA:
        return
    assert code == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert sentence.startswith("lmablate: ")
    assert {path.name for path in tmp_path.iterdir()} <= {"pyproject.toml", "canary", "conf"}
