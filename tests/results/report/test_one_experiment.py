"""`python -m lmablate.report experiment=mine`: from runs to a page, tables and a notebook about one experiment."""

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from lmablate.runs.run import all_runs
from tests.results.exports.helpers import make_config, make_run, training_rows
from tests.tiny import ROOT, SMALL, command, exit_code, write_corpus

FLOORS = {"rope": 4.0, "nope": 5.0, "sin": 4.5}
CLAIM = {
    "id": "M1", "text": "RoPE is lower than none.", "reported": "RoPE wins.", "question": "Does RoPE win?",
    "experiment": "mine", "metric": "val/loss", "margin": 0.01,
    "all_of": [{"predicate": "lower", "better": {"model/pos": "rope"}, "worse": {"model/pos": "nope"}}],
}  # fmt: skip
FILES = {"mine.html", "mine.results.csv", "mine.results.md", "mine.results.tex"}


def make_runs(runs_dir: Path, experiment: str = "mine", seeds: int = 3) -> None:
    for seed in range(seeds):
        for pos, floor in FLOORS.items():
            rows = training_rows(seed, floor=floor, steps=60, eval_every=20, spread=0.005)
            run = make_run(runs_dir, rows, {}, make_config(seed, 60, 10, pos=pos))
            arguments = ["--config-dir", "/own", f"seed={seed}", f"model/pos={pos}", f"experiment={experiment}"]
            run.add_to_experiment(experiment, {"model/pos": pos}, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with runs of an experiment, which is the current one."""
    make_runs(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_project(folder: Path, *claims: dict) -> None:
    (folder / "pyproject.toml").write_text('[tool.lmablate]\ntitle = "Positions <again>"\nquestion = "Which & why?"\n')
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\n# 1: mine, all mine.\nname: mine\n")
    if claims:
        (folder / "conf" / "claim").mkdir()
    for claim in claims:
        (folder / "conf" / "claim" / f"{claim['id']}.yaml").write_text(yaml.safe_dump(claim))


def report(*arguments: str) -> int:
    return exit_code(["experiment=mine", *arguments], "lmablate.report")


@pytest.mark.slow
def test_runs_anywhere_become_a_page_and_three_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("reference=model/pos=sin", f"runs_dir={folder / 'runs'}") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "analysis/mine.html"
    assert "Results of mine, compared with sinusoidal" in printed
    made = {path.name for path in (folder / "analysis").iterdir() if path.is_file()}
    assert made == FILES
    page = (folder / "analysis" / "mine.html").read_text()
    assert "<h1>mine</h1>" in page
    assert "The results rest on 9 finished runs" in page
    assert "Compared with sinusoidal" in page
    assert "Can the verdicts be trusted?" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    train = "python -m lmablate.train --config-dir /own -m experiment=mine seed=0,1,2 model/pos=nope,rope,sin"
    again = f"python -m lmablate.report experiment=mine runs_dir={folder / 'runs'} reference=model/pos=sin"
    assert f"<pre>{train}\n{again}</pre>" in html.unescape(page)


@pytest.mark.slow
def test_a_project_has_its_own_title_question_and_claims(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = CLAIM | {"id": "M2", "experiment": "another"}
    make_project(folder, CLAIM, other)
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    assert report() == 0
    made = {path.name for path in (folder / "analysis").iterdir() if path.is_file()}
    assert made == FILES | {"mine.verdicts.csv"}
    page = (folder / "analysis" / "mine.html").read_text()
    assert "<h1>Positions &lt;again&gt;</h1>" in page
    assert "<title>Positions &lt;again&gt;</title>" in page
    assert "Which &amp; why?" in page
    assert "Mine, all mine" in page
    assert page.count('id="claim-M1"') == 1
    assert "claim-M2" not in page
    assert "Only the claims that rest on mine alone are judged here, as one family." in page
    assert "Which parts of a small Transformer" not in page
    assert list((folder / "sub").iterdir()) == []


@pytest.mark.slow
def test_a_project_without_claims_has_a_page_of_all_its_experiments(folder: Path) -> None:
    make_project(folder)
    assert report() == 0
    assert exit_code([], "lmablate.report") == 0
    page = (folder / "analysis" / "report.html").read_text()
    assert "<h1>Positions &lt;again&gt;</h1>" in page
    assert not (folder / "analysis" / "verdicts.csv").exists()
    assert exit_code([], "lmablate.report") == 0  # and may be replaced by a newer one


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes_and_more_runs_a_newer_page(folder: Path) -> None:
    def made() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (folder / "analysis").rglob("*") if path.is_file()}

    assert report("notebook=true") == 0
    first = made()
    assert report("notebook=true") == 0
    assert made() == first
    make_runs(folder / "runs", seeds=4)
    assert report("notebook=true") == 0
    assert "12 finished runs" in (folder / "analysis" / "mine.html").read_text()


def test_exports_alone_are_enough(folder: Path) -> None:
    assert exit_code(["experiment=mine"], "lmablate.export") == 0
    shutil.rmtree(folder / "runs")
    assert report() == 0
    page = (folder / "analysis" / "mine.html").read_text()
    assert "<pre>python -m lmablate.train experiment=mine\npython -m lmablate.report experiment=mine</pre>" in page


@pytest.mark.slow
@pytest.mark.parametrize("start", ["analysis", ".", "elsewhere"])
def test_the_notebook_runs_from_any_folder(folder: Path, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(folder, CLAIM)
    assert report("reference=nope", "notebook=true") == 0
    (folder / "elsewhere").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(folder / "analysis" / "mine.ipynb", as_version=4)
    for words in ("# Mine", "Mine, all mine.", "- Which & why?", "- Does RoPE win?", "python -m lmablate.train"):
        assert words in notebook.cells[0].source
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder / start)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert any("none (NoPE)" in str(output.get("data", {}).get("text/html")) for output in outputs)


# What is in the way, as (file, content or None to append a run), and words of the sentence.
IN_THE_WAY = [
    ("analysis/mine.html", "mine", "analysis/mine.html exists already and is not a report on these runs"),
    ("analysis/mine.results.csv", "a,b\n", "mine.results.csv exists already and is not the results of mine"),
    ("analysis/mine.results.md", "# notes\n", "mine.results.md exists already"),
    ("analysis/mine.results.tex", "\\section{x}\n", "mine.results.tex exists already"),
    ("analysis/mine.ipynb", "{}", "mine.ipynb exists already and is not the notebook of this command, unedited"),
    ("analysis/exports/mine.runs.csv", "a,b\n1,2\n", "mine.runs.csv exists already and is not a table of these runs"),
]


@pytest.mark.parametrize(("name", "content", "words"), IN_THE_WAY)
def test_what_is_not_ours_stays(folder: Path, capsys, name: str, content: str, words: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert report("notebook=true") == 2
    assert words in capsys.readouterr().err
    assert path.read_text() == content


@pytest.mark.slow
def test_what_is_not_ours_is_replaced_on_request(folder: Path) -> None:
    for name, content, _ in IN_THE_WAY:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    assert report("notebook=true", "overwrite=true") == 0
    assert [name for name, content, _ in IN_THE_WAY if (folder / name).read_text() == content] == []


@pytest.mark.slow
def test_an_edited_notebook_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("notebook=true") == 0
    path = folder / "analysis" / "mine.ipynb"
    path.write_text(path.read_text().replace("summary(data)", "summary(data).T"))
    assert report("notebook=true") == 2
    assert "unedited" in capsys.readouterr().err
    assert report() == 0


@pytest.mark.slow
def test_tables_of_more_runs_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report() == 0
    shutil.rmtree(next(iter(all_runs(folder / "runs"))).folder)
    assert report() == 2
    assert "has 1 runs of mine that are not in runs_dir" in capsys.readouterr().err
    assert report("overwrite=true") == 0


MISTAKES = [
    (["experiment=nope"], "nope.parquet is missing"),
    (["experiment=../x"], "experiment='../x' is not allowed: it names a file"),
    (["experiment="], "experiment='' is not allowed"),
    (["experiment=mine", "runs_dir=nowhere"], "runs_dir=nowhere holds no run of experiment=mine"),
    (["experiment=mine", "reference=alibi"], "reference=alibi is no arm with a finished run of mine: name one of"),
    (["experiment=mine", "reference="], "reference= is no arm"),
    (["experiment=mine", "notebook=yes"], "notebook=yes is not allowed: it must be true or false"),
    (["experiment=mine", "markdown=m.md"], "markdown=m.md would be empty: there is no claim"),
    (["reference=rope"], "reference=rope is only for the report of one experiment: add experiment=NAME"),
    (["notebook=true"], "notebook=true is only for the report of one experiment"),
    (["runs_dir=runs"], "runs_dir=runs is only for the report of one experiment"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_gets_one_sentence(folder: Path, capsys, arguments: list[str], words: str) -> None:
    assert exit_code(arguments, "lmablate.report") == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert words in sentence


@pytest.mark.slow
def test_the_commands_of_the_page_train_these_runs(tmp_path: Path) -> None:
    """The page of a sweep in a project, with a config folder of one's own: its commands find every run done."""
    make_project(tmp_path)
    own = tmp_path / "own dir" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nname: mine\n")
    corpus = [override for override in write_corpus(tmp_path) if not override.startswith("data_dir")]
    sweep = ["model/tying=true,false", "seed=0,1", "hydra/launcher=basic"]
    typed = ["-m", "--config-dir", str(own.parent), "experiment=mine", *sweep, *SMALL, *corpus]
    assert command(typed, cwd=tmp_path).returncode == 0
    assert (
        command(["--config-dir", str(own.parent), "experiment=mine"], "lmablate.report", cwd=tmp_path).returncode == 0
    )
    page = html.unescape((tmp_path / "analysis" / "mine.html").read_text())
    commands = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)[-1].splitlines()
    assert len(commands) == 2
    for line in commands:
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"]
        done = subprocess.run(
            [sys.executable, *words[1:], *(["hydra/launcher=basic"] if "lmablate.train" in words else [])],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if "lmablate.train" in words:
            assert done.stderr.count("is done already") == 4, done.stderr
    assert len(all_runs(tmp_path / "runs")) == 4
