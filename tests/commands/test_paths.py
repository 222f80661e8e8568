"""A path means the same to every command: `~` is the home folder, and a stored path holds from every folder."""

import os
import shutil
from pathlib import Path

import pytest

from lmablate.config.key_value import parse
from lmablate.errors import UserError
from lmablate.evaluate import Arguments as Evaluate
from lmablate.export import Arguments as Export
from lmablate.runs.run import all_runs
from lmablate.sweep.jobs import expand_sweep
from tests.tiny import SMALL, exit_code, write_corpus

ONE_STEP = [*SMALL, "train.max_steps=1"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another folder beside it, which is the current one."""
    for name in ("home", "work", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("~/x", "home/x"),
        ("~", "home"),
        ("x", "work/x"),
        ("./x/../y", "work/x/../y"),
        ("../x", "work/../x"),
        ("a b/(1)=c", "work/a b/(1)=c"),
        ("größe", "work/größe"),
        ("'a,b'", "work/a,b"),
        ("'$x'", "work/$x"),
        ("2024", "work/2024"),
        ("1e3", "work/1e3"),
        ("true", "work/true"),
    ],
)
@pytest.mark.parametrize("key", ["runs_dir", "data_dir"])
def test_a_folder_is_where_it_was_typed(key: str, typed: str, path: str, home: Path) -> None:
    assert expand_sweep([f"{key}={typed}"]).jobs[0].cfg[key] == str(home.parent / path)


@pytest.mark.parametrize(("typed", "path"), [("~/x", "home/x"), ("~", "home"), ("a b", "a b"), ("x=y(1)", "x=y(1)")])
def test_other_commands_read_a_path_alike(typed: str, path: str, home: Path) -> None:
    expected = home.parent / path if "home" in path else Path(path)
    assert parse([f"out={typed}"], Export).out == expected
    assert parse(["run=r", f"runs_dir={typed}"], Evaluate).runs_dir == expected


@pytest.mark.parametrize("typed", ["", "~nobody-here/x", "a\0b"])
def test_what_is_no_path_is_refused(typed: str) -> None:
    with pytest.raises(UserError, match="out="):
        parse([f"out={typed}"], Export)


@pytest.mark.parametrize("typed", ["file", "file/below", "./file", "/dev/null", "/dev/null/below", "link"])
@pytest.mark.parametrize("key", ["runs_dir", "data_dir"])
@pytest.mark.parametrize("command", ["train", "plan", "audit", "status", "lr_sweep", "prepare", "tune", "decide"])
def test_a_file_in_the_place_of_a_folder_is_refused_by_every_command(
    command: str, key: str, typed: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = home.parent / "work"
    (work / "file").write_text("mine")
    (work / "link").symlink_to("file")
    assert exit_code([f"{key}={typed}", "hydra/launcher=basic"], f"lmablate.{command}") == 2
    assert f"{key}={typed} is not a folder" in capsys.readouterr().err
    assert sorted(path.name for path in work.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("style", ["relative", "home", "special"])
def test_a_run_is_evaluated_from_another_folder(
    style: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"relative": Path("text"), "home": Path("~/text"), "special": Path("a b (1)=ü")}[style]
    write_corpus(base.expanduser())
    data = ["data=text", f"data.train={base / 'train.txt'}", f"data.valid={base / 'valid.txt'}"]
    assert exit_code([*ONE_STEP, *data, f"data_dir={base / 'data'}", f"runs_dir={base / 'runs'}"]) == 0
    (run,) = all_runs(base.expanduser() / "runs")
    folder = run.folder.absolute()
    monkeypatch.chdir(home.parent / "elsewhere")
    assert exit_code([f"run={folder}"], "lmablate.evaluate") == 0
    assert exit_code([f"run={folder}", "max_tokens=2"], "lmablate.generate") == 0
    assert "nats per token" in capsys.readouterr().out
    assert os.listdir() == []
    assert sorted(p.name for p in home.parent.iterdir()) == ["elsewhere", "home", "work"]
    if style != "home":
        assert os.listdir(home) in ([], [".cache"])


def test_a_run_keeps_its_id_wherever_it_and_its_data_are(home: Path) -> None:
    ids = []
    for base in ("one", "two words"):
        write_corpus(Path(base))
        data = ["data=text", f"data.train={base}/train.txt", f"data.valid={base}/valid.txt", f"data_dir={base}/data"]
        assert exit_code([*ONE_STEP, *data, f"runs_dir={base}/runs"]) == 0
        ids += [run.id for run in all_runs(Path(base) / "runs")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_moved_run_is_evaluated_with_moved_data(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(Path("text"))
    data = ["data=text", "data.train=text/train.txt", "data.valid=text/valid.txt"]
    assert exit_code([*ONE_STEP, *data, "data_dir=data", "runs_dir=runs"]) == 0
    (run,) = all_runs(Path("runs"))
    shutil.move("runs", home.parent / "elsewhere" / "moved")
    shutil.move("data", home.parent / "elsewhere" / "data")
    monkeypatch.chdir(home.parent / "elsewhere")
    assert exit_code([f"run={run.id}", "runs_dir=moved", "data_dir=data"], "lmablate.evaluate") == 0
    assert "nats per token" in capsys.readouterr().out
    assert not (home.parent / "work" / "data").exists()
