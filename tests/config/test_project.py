"""A user's own project: found from any folder in it, by every command, and its classes built if the user says so."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from lmablate.config.project import claims_folder, conf_folders, default_path, find_project
from lmablate.config.schema import CONF
from lmablate.errors import UserError
from tests.tiny import exit_code

PROJECT = '[tool.lmablate]\ntitle = "T"\nquestion = "Q?"\n'
POSITIONS = """from torch import Tensor, nn
import torch
from lmablate.model.pos import Position


class Mine(Position):
    def __init__(self, d_model: int, n_heads: int, context_length: int, *, scale: float = 1.0) -> None:
        super().__init__(d_model, n_heads, context_length)
        self.weight = nn.Parameter(torch.full((n_heads, 1, 1), scale))

    def bias(self, scores: Tensor) -> Tensor:
        return scores * self.weight


def no_class(*sizes):
    return Mine(*sizes)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "pyproject.toml": PROJECT,
        "ours/__init__.py": "",
        "ours/pos.py": POSITIONS,
        "conf/model/pos/mine.yaml": "_target_: ours.pos.Mine\n_partial_: true\nscale: 0.5\n",
        "conf/experiment/mine.yaml": "# @package _global_\nname: mine\n",
        "conf/claim/c.yaml": "id: X\n",
        "deep/er/x": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("LMABLATE_TRUST", "")
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path


def test_a_project_is_found_from_any_folder_in_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (project, project / "deep", project / "deep" / "er"):
        monkeypatch.chdir(folder)
        found = find_project()
        assert found is not None
        assert (found.root, found.conf, found.title, found.question) == (project, project / "conf", "T", "Q?")
        assert conf_folders() == [project / "conf", CONF]
        assert claims_folder() == project / "conf" / "claim"
        assert default_path("runs") == project / "runs"
    monkeypatch.chdir(project.parent)
    assert find_project() is None
    assert conf_folders() == [CONF]
    assert claims_folder() == CONF / "claim"
    assert default_path("runs") == Path("runs")


MISTAKES = [
    ("[tool.lmablate]\ntrust = 'x'\n", "tool.lmablate.trust is not known: the keys are conf, title and question"),
    ("[tool.lmablate]\ntitle = 3\n", "tool.lmablate.title=3 is not allowed: it must be text"),
    ("[tool.lmablate]\ntitle = 'a\n", "pyproject.toml cannot be read"),
    ("[tool.lmablate]\nconf = []\n", "tool.lmablate.conf=[] is not allowed"),
    ("[tool.lmablate]\n[tool.lmablate]\n", "pyproject.toml cannot be read"),
    ("[tool.lmablate.x]\n", ""),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_in_the_section_is_one_sentence(project: Path, text: str, words: str) -> None:
    (project / "pyproject.toml").write_text(text)
    if not words:
        assert find_project() is None
        return
    with pytest.raises(UserError) as error:
        find_project()
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["[project]\nname = 'x'\n", "# [tool.lmablate]\n", "", "[tool.other]\n"])
def test_another_pyproject_is_no_project(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)
    assert find_project() is None


TINY = [
    "scale=cpu", "model.d_model=16", "model.n_heads=2", "model.n_layers=1", "model.context_length=8",
    "train.max_steps=2", "train.batch_size=2", "train.eval_batches=1", "tracking=none", "diagnostics=none",
    "tokenizer.vocab_size=270",
]  # fmt: skip

# What is typed in the project, LMABLATE_TRUST, and what the sentence says; None stands for success.
TRUST = [
    (["model/pos=mine"], "", "_target_=ours.pos.Mine is refused"),
    (["model/pos=mine"], "", "If ours is yours, say so: LMABLATE_TRUST=ours, or --trust ours."),
    (["model/pos=mine"], "other", "is refused"),
    (["model/pos=mine"], "our", "is refused"),
    (["model/pos=mine"], "ours.po", "is refused"),
    (["model/pos=mine"], "ours,other", None),
    (["model/pos=mine"], " ours ", None),
    (["model/pos=mine"], "ours.pos", None),
    (["--trust", "ours", "model/pos=mine"], "", None),
    (["model/pos=mine", "--trust=ours"], "", None),
    (["model/pos=mine", "--trust=ours", "--trust", "other"], "", None),
    (["model/pos=mine", "--trust"], "", "expected one argument"),
    (["model/pos=mine"], "ours;other", "LMABLATE_TRUST=ours;other is not allowed"),
    (["model/pos=mine"], "../ours", "LMABLATE_TRUST=../ours is not allowed"),
    (["model/pos=mine", "--trust", "os", "model.pos._target_=os.system"], "", "os.system does not exist: os has no cl"),
    (["model/pos=mine", "model.pos._target_=ours.pos.no_class"], "ours", "ours.pos has no class no_class"),
    (["model/pos=mine", "model.pos._target_=ours.pos.Position"], "ours", "is refused"),
    (["model/pos=mine", "model.pos._target_=ours.pos.torch.nn.Linear"], "ours", "ours.pos.torch.nn does not exist"),
    (["model/pos=mine", "model.pos._target_=ours.posit.Mine"], "ours", "ours.posit does not exist"),
    (
        ["model/pos=mine", "model.pos._target_=gone.pos.Mine"],
        "gone",
        "gone.pos does not exist: it is neither",
    ),
    (["model/pos=mine", "model.pos.scale=big"], "ours", "model.pos.scale='big' is not allowed: it must be a number"),
    (["model/pos=mine", "+model.pos.size=1"], "ours", "model.pos.size is not an argument of ours.pos.Mine"),
    (["model/pos=mine", "+model.pos.x={_target_: os.getcwd}"], "ours", "_target_=os.getcwd is refused"),
    (["model/pos=min"], "ours", "did you mean mine?"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "trust", "words"), TRUST)
def test_a_class_of_the_project_is_built_if_its_user_says_so(
    project: Path,
    typed: list[str],
    trust: str,
    words: str | None,
    corpus: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LMABLATE_TRUST", trust)
    code = exit_code([*TINY, *corpus, *typed])
    printed = capsys.readouterr()
    if words is None:
        assert code == 0, printed.err
        (run,) = (project / "runs").glob("prenorm-mine-*")
        assert (run / "run.json").read_text().count("own_code") == 1
    else:
        assert code == 2
        (sentence,) = printed.err.strip().splitlines()
        assert words in sentence
        assert not (project / "runs").exists()


BROKEN = [
    ("import nowhere_at_all\n", "ours.pos cannot be imported: No module named 'nowhere_at_all'"),
    ("def f(:\n", "pos.py, line 1: invalid syntax"),
    ("1 / 0\n", "pos.py, line 1: ZeroDivisionError: division by zero"),
    ("raise SystemExit(3)\n", "pos.py, line 1: SystemExit: 3"),
    ("from lmablate.model.pos import Nothing\n", "cannot import name 'Nothing'"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN)
def test_a_module_that_cannot_be_imported_is_one_sentence(
    project: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "broken").mkdir()
    (project / "broken" / "__init__.py").write_text("")
    (project / "broken" / "pos.py").write_text(text)
    monkeypatch.setenv("LMABLATE_TRUST", "broken")
    assert exit_code([*TINY, "model/pos=mine", "model.pos._target_=broken.pos.Mine"]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert words.replace("ours", "broken") in sentence
    for name in [name for name in sys.modules if name.startswith("broken")]:
        del sys.modules[name]
    shutil.rmtree(project / "broken")


@pytest.mark.parametrize("command", ["plan", "audit", "status", "lr_sweep", "prepare"])
def test_every_command_finds_the_project(
    project: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["experiment=mine", "model/pos=mine", "optim.weight_decay=-1"], f"lmablate.{command}") == 2
    said = capsys.readouterr().err
    assert "optim.weight_decay=-1.0 is not allowed" in said or "_target_=ours.pos.Mine is refused" in said
    assert os.listdir(project / "deep" / "er") == ["x"]
