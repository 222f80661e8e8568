"""Each change to Hydra is noticed if it is missing."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra.core.default_element import GroupDefault, InputDefault

from lmablate.config import hydra_patches
from lmablate.config.command_line import parse_command_line
from lmablate.config.compose import compose_config, config_folder
from tests.tiny import ROOT, exit_code

STUB = "tests.config.stub"
PATCHES = [
    patch
    for name, patch in inspect.getmembers(hydra_patches, inspect.isfunction)
    if patch.__module__ == hydra_patches.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_a_patch_says_why_it_exists_and_which_test_would_notice(patch: Callable) -> None:
    docstring = inspect.getdoc(patch) or ""
    assert "\nWhy: " in docstring
    without = re.search(r"^Without it: .*?\((tests/\S+\.py),\s(test_\w+)\)\.$", docstring, re.MULTILINE | re.DOTALL)
    assert without, "its docstring has no 'Without it: ... (FILE, TEST).'"
    path, test = without.groups()
    assert f"\ndef {test}(" in (ROOT / path).read_text()


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The override of a folder for Hydra's files, in an environment that a user has not prepared for debugging."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return f"runs_dir={tmp_path / 'runs'}"


def test_a_group_value_may_look_like_a_boolean(runs_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["model/tying=false", runs_dir], STUB) == 0
    assert json.loads(capsys.readouterr().out)["config"]["model"]["tying"]["_target_"].endswith("UntiedHead")


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_the_multirun_flag_may_stand_anywhere(flag: str, runs_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["seed=3,4", flag, "hydra/launcher=basic", runs_dir], STUB) == 0
    jobs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [job["config"]["seed"] for job in jobs] == [3, 4]


def test_a_mistake_is_one_sentence_and_exit_code_2(runs_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["model/pos=xyz", runs_dir], STUB) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("lmablate: ")
    assert "Available options in 'model/pos'" in sentence


def test_a_failed_run_is_reported_once(runs_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["name=mistake", runs_dir], STUB) == 2
    assert capsys.readouterr().err == "lmablate: name=mistake is a mistake.\n"
    assert exit_code(["name=bug", runs_dir], STUB) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert [line for line in lines if not line.startswith(" ")][1:] == ["ZeroDivisionError: a bug", "lmablate: a bug"]


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=${nope}", "seed: Interpolation key 'nope' not found."),
        ("seed=${oc.env:LMABLATE_NOWHERE}", "Environment variable 'LMABLATE_NOWHERE' not found."),
        ("model.d_model=${seed}x", "model.d_model"),
        ("name=missing", "/nowhere: No such file or directory."),
    ],
)
def test_a_job_that_meets_a_mistake_ends_without_a_traceback(
    flags: list[str], override: str, words: str, runs_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = exit_code([*flags, override, runs_dir, "hydra/launcher=basic"], STUB)
    assert code == (1 if override == "name=missing" else 2)
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "full_key" not in printed
    assert words in printed.splitlines()[-1]


def test_choices_are_gathered_only_for_an_interpolated_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [{/stack@_global_: '${experiment}_stack'}, {override /model/act: gelu}]\n"
    (tmp_path / "experiment" / "refers.yaml").write_text(text)
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "refers_stack.yaml").write_text("# @package _global_\noptim: {lr: 0.125}\n")
    with config_folder(parse_command_line([f"--config-dir={tmp_path}"])):
        assert compose_config(["experiment=refers"]).optim.lr == 0.125
        plain: list[InputDefault] = [GroupDefault(group="model/act", value="gelu")]
        nothing: Any = None
        assert defaults_list._create_interpolation_map(nothing, plain, False) is None
