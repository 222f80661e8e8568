"""One bad or empty source does not keep the good ones from being exported, and what is passed over is said."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmablate.errors import UserError
from lmablate.export import Arguments, export
from lmablate.results.exports import load_exported, open_experiment
from lmablate.results.exports.wandb_offline import Segment, add_record, read_wandb_offline
from tests.results.exports.helpers import make_config, make_run, training_rows

GOOD = "Step,good-s1 - val/loss\n0,3\n1,2\n"

# Files beside a good page -> the runs of the table, and the sentence about what was passed over, if anything is lost.
PAGES: dict[str, tuple[dict[str, str | bytes], list[str], str]] = {
    "nothing else": ({}, [], ""),
    "a run without a value": ({"a.csv": "Step,r - val/loss\n0,\n1,\n"}, [], ""),
    "a run with a value and one without": ({"a.csv": "Step,r - a,q - a\n0,,1\n1,,2\n"}, ["q"], ""),
    "a run without a value of one metric": ({"a.csv": "Step,r - a,r - val/loss\n0,1,\n"}, ["r"], ""),
    "a header only": ({"a.csv": "Step,r - val/loss\n"}, [], ""),
    "an x axis only": ({"a.csv": "Step\n"}, [], ""),
    "steps only": ({"a.csv": "Step\n0\n1\n"}, [], ""),
    "no metric": ({"a.csv": "Step,r,q\n0,1,2\n"}, [], ""),
    "only wandb's own columns": ({"a.csv": "Step,r - _step,r - _runtime,r - _timestamp\n0,1,2,3\n"}, [], ""),
    "a metric called like an extreme": ({"a.csv": "Step,r - a__MIN\n0,1\n"}, ["r"], ""),
    "a metric called like wandb's own": ({"a.csv": "Step,r - _mine\n0,1\n"}, ["r"], ""),
    "only NaN": ({"a.csv": "Step,r - val/loss\n0,NaN\n1,nan\n"}, ["r"], ""),
    "only infinities": ({"a.csv": "Step,r - val/loss\n0,Infinity\n1,-inf\n"}, ["r"], ""),
    "one row": ({"a.csv": "Step,r - val/loss\n7,1\n"}, ["r"], ""),
    "blank lines": ({"a.csv": "\n\nStep,r - val/loss\n\n0,1\n\n"}, ["r"], ""),
    "an empty file": ({"a.csv": ""}, [], r"a\.csv is empty"),
    "an empty file with a mark": ({"a.csv": b"\xef\xbb\xbf"}, [], r"a\.csv is empty"),
    "an empty line": ({"a.csv": "\n"}, [], r"a\.csv is empty"),
    "two empty files": ({"a.csv": "", "b.csv": ""}, [], r"a\.csv is empty; .*b\.csv is empty"),
    "no steps": ({"a.csv": ",r - a\n,1\n"}, [], r"a\.csv has the x axis ''"),
    "another x axis": ({"a.csv": "Relative Time,r - a\n0,1\n"}, [], "save the chart with Step"),
    "a short line": ({"a.csv": "Step,r - a\n0\n"}, [], "line 2 has 1 cells"),
    "a word for a value": ({"a.csv": "Step,r - a\n0,much\n"}, [], "is not a number"),
    "no text": ({"a.csv": b"\xff\xfe"}, [], "is not UTF-8: byte 0"),
    "a contradiction": (
        {"a.csv": "Step,r - a,q - a\n0,1,1\n", "b.csv": "Step,r - a\n0,2\n"},
        ["q"],
        "another file says",
    ),
}


@pytest.mark.parametrize("scene", PAGES)
def test_a_bad_page_does_not_block_the_others(tmp_path: Path, scene: str) -> None:
    files, others, lost = PAGES[scene]
    write(tmp_path, files | {"good.csv": GOOD})
    args = Arguments("x", source="csv", folder=tmp_path, runs_dir=tmp_path, out=tmp_path / "out")
    if lost:
        with pytest.raises(UserError, match=rf"passed over, while all else was exported: .*{lost}"):
            export(args)
    else:
        export(args)
    assert sorted(load_exported(tmp_path / "out", "x").runs["run"]) == sorted(["good-s1", *others])


@pytest.mark.parametrize("scene", [scene for scene, (files, others, _) in PAGES.items() if files and not others])
def test_where_there_is_no_other_page_it_is_refused_in_one_sentence(tmp_path: Path, scene: str) -> None:
    files, _, lost = PAGES[scene]
    write(tmp_path, files)
    with pytest.raises(UserError, match=lost or "experiment=x has no run here") as error:
        export(Arguments("x", source="csv", folder=tmp_path, runs_dir=tmp_path, out=tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError):
        open_experiment("x", tmp_path, tmp_path, runs_dir=tmp_path)


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def spoil(name: str, content: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(content)


# What is done to one of two runs -> its state in the table, None if it is not there; and the sentence, if any.
FOLDERS: dict[str, tuple[Callable[[Path], object], str | None, str]] = {
    "nothing": (lambda run: None, "done", ""),
    "no metrics yet": (lambda run: (run / "metrics.jsonl").unlink(), "done", ""),
    "empty metrics": (spoil("metrics.jsonl", ""), "done", ""),
    "a blank line of metrics": (spoil("metrics.jsonl", "\n"), "done", ""),
    "half a row": (spoil("metrics.jsonl", '{"step": 0, "val/lo'), "done", ""),
    "rows without a metric": (spoil("metrics.jsonl", '{"step":0}\n{"step":1}\n'), "done", ""),
    "rows of nulls": (spoil("metrics.jsonl", '{"step":0,"val/loss":null}\n'), "done", ""),
    "rows of NaN": (spoil("metrics.jsonl", '{"step":0,"val/loss":NaN}\n'), "done", ""),
    "a damaged row": (spoil("metrics.jsonl", 'x\n{"step":0,"val/loss":1}\n'), "damaged", "line 1 is damaged"),
    "a row that is a list": (spoil("metrics.jsonl", "[]\n{}\n"), "damaged", "line 1 is damaged"),
    "a value that is text": (spoil("metrics.jsonl", '{"step":0,"val/loss":"1"}\n'), "damaged", "is not a number"),
    "a metric that is no text": (spoil("metrics.jsonl", '{"step":0,"\\ud800":1}\n'), "done", ""),
    "a metric without a name": (spoil("metrics.jsonl", '{"step":0,"":1}\n'), "done", ""),
    "an empty run.json": (spoil("run.json", ""), None, r"run\.json cannot be read"),
    "a run.json of nothing": (spoil("run.json", "{}"), None, r"it has no identity"),
    "an identity of nothing": (spoil("run.json", '{"identity":{}}'), None, r"run\.json is damaged"),
    "a config of nothing": (spoil("run.json", '{"identity":{"config":{}}}'), None, r"run\.json is damaged"),
    "no status": (lambda run: (run / "status.json").unlink(), "missing", ""),
    "an empty status": (spoil("status.json", ""), "missing", ""),
    "a state that is no text": (spoil("status.json", '{"state": "\\ud800\\n"}'), "\\ud800\\n", ""),
    "a status of nothing": (spoil("status.json", "{}"), "missing", ""),
    "an empty file of its experiment": (spoil("experiments/x", ""), "done", ""),
    "no folder of experiments": (lambda run: shutil.rmtree(run / "experiments"), None, ""),
    "an empty folder of experiments": (lambda run: (run / "experiments" / "x").unlink(), None, ""),
    "a folder for its experiment": (lambda run: to_folder(run / "experiments" / "x"), "done", ""),
}


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("scene", FOLDERS)
def test_a_bad_run_does_not_block_the_others(
    tmp_path: Path, scene: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    change, state, lost = FOLDERS[scene]
    make_run(tmp_path / "runs", training_rows(0), {"x": {}}, make_config(0))
    run = make_run(tmp_path / "runs", training_rows(1), {"x": {}}, make_config(1))
    change(run.folder)
    args = Arguments(runs_dir=tmp_path / "runs", out=tmp_path / "out")
    if lost:
        with pytest.raises(UserError, match=rf"passed over, while all else was exported: .*{lost}"):
            export(args)
    else:
        export(args)
    table = load_exported(tmp_path / "out", "x").runs.set_index("run")["state"]
    assert table.get(run.id) == state
    assert len(table) == 1 + (state is not None)
    assert (run.id in caplog.text) == (state is None and not lost) or "half" in scene
    assert not recwarn.list


@pytest.mark.parametrize("scene", [scene for scene, (_, state, _) in FOLDERS.items() if state is None])
def test_a_folder_of_bad_runs_alone_is_refused_in_one_sentence(tmp_path: Path, scene: str) -> None:
    change, _, lost = FOLDERS[scene]
    change(make_run(tmp_path / "runs", training_rows(1), {"x": {}}, make_config(1)).folder)
    with pytest.raises(UserError, match=lost or "holds no run of an experiment") as error:
        export(Arguments(runs_dir=tmp_path / "runs", out=tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["metrics", "wandb", "csv"])
def test_an_empty_folder_is_refused_in_one_sentence(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path} holds no"):
        export(Arguments(source=source, runs_dir=tmp_path, out=tmp_path / "out"))  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()


# What is beside a good .wandb file -> the sentence about it.
WANDB_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an empty file": (lambda whole: b"", "holds no wandb run"),
    "another file": (lambda whole: b"hello", "holds no wandb run"),
    "a header only": (lambda whole: whole[:7], "holds no wandb run"),
    "zeros": (lambda whole: bytes(len(whole)), "holds no wandb run"),
}


@pytest.mark.slow
def test_a_bad_wandb_file_does_not_block_the_others(trained: Path, tmp_path: Path) -> None:
    good = next(trained.rglob("*.wandb"))
    shutil.copy(good, tmp_path / "good.wandb")
    for number, (change, _) in enumerate(WANDB_FILES.values()):
        (tmp_path / f"{number}.wandb").write_bytes(change(good.read_bytes()))
    (tmp_path / "folder.wandb").mkdir()
    damage: list[UserError] = []
    (run,) = read_wandb_offline(tmp_path, tmp_path, damage.append)
    assert run.read_curves()
    assert len(damage) == len(WANDB_FILES)
    assert all("holds no wandb run" in str(error) for error in damage)


CONFIG = {"update": make_config(3)}
RECORDS: dict[str, tuple[list[object], str]] = {
    "a run without rows": ([{"type": "run", "run": {"run_id": "r", "config": CONFIG}}], ""),
    "a run without a config": ([{"type": "run", "run": {"run_id": "r"}}], "is not a run of lmablate"),
    "an empty config": ([{"type": "run", "run": {"run_id": "r", "config": {}}}], "is not a run of lmablate"),
    "a config of nothing": (
        [{"type": "run", "run": {"run_id": "r", "config": {"update": {}}}}],
        "not a run of lmablate",
    ),
    "a config that is a list": ([{"type": "run", "run": {"run_id": "r", "config": []}}], "not a run of lmablate"),
    "a model that is text": (
        [{"type": "run", "run": {"run_id": "r", "config": {"update": make_config() | {"model": "llama"}}}}],
        "not a run of lmablate",
    ),
    "a group that is a path": (
        [{"type": "run", "run": {"run_id": "r", "run_group": "../x", "config": CONFIG}}],
        r"run_group='\.\./x' is not allowed",
    ),
    "a row without metrics": (
        [
            {"type": "run", "run": {"run_id": "r", "config": CONFIG}},
            {"type": "history", "history": {"item": {"_step": 0}}},
        ],
        "",
    ),
    "a metric without a name": (
        [
            {"type": "run", "run": {"run_id": "r", "config": CONFIG}},
            {"type": "history", "history": {"item": {"_step": 0, "": 1, "a": True, "b": "picture"}}},
        ],
        "",
    ),
    "a row without a step": ([{"type": "history", "history": {"item": {}}}], "cannot be understood"),
    "a record that is no object": ([[]], "cannot be understood"),
    "a record without a type": ([{}], "cannot be understood"),
    "a step that is infinite": ([{"type": "history", "history": {"item": {"_step": float("inf")}}}], "be understood"),
}


@pytest.mark.parametrize("scene", RECORDS)
def test_a_strange_wandb_run_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: str) -> None:
    records, complaint = RECORDS[scene]
    (tmp_path / "x.wandb").touch()

    def read(path: Path) -> Segment:
        segment = Segment(path)
        for record in records:
            add_record(segment, json.dumps(record).encode())
        return segment

    monkeypatch.setattr("lmablate.results.exports.wandb_offline.read_segment", read)
    if complaint:
        with pytest.raises(UserError, match=complaint):
            read_wandb_offline(tmp_path, tmp_path)
    else:
        (run,) = read_wandb_offline(tmp_path, tmp_path)
        assert run.seed == 3
        assert set(run.read_curves()) <= {""}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"folder": Path("x")}, "folder=x is of no use with source=metrics"),
        ({"experiment": ""}, "experiment='' is not allowed"),
        ({"experiment": "../x"}, "experiment='../x' is not allowed"),
        ({"runs_dir": Path("nowhere")}, "runs_dir=nowhere is not a folder"),
        ({"every": 0}, "every=0 is not allowed"),
        ({"digits": 18}, "digits=18 is not allowed"),
        ({"step_every": 0}, "step_every=0 is not allowed"),
        ({"step_digits": 0}, "step_digits=0 is not allowed"),
    ],
)
def test_an_argument_that_would_be_passed_over_is_refused(
    trained: Path, tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        export(replace(Arguments(runs_dir=trained, out=tmp_path / "out"), **arguments))
    assert not (tmp_path / "out").exists()
