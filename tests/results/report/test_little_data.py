"""A report of little or strange data is written, or refused in one sentence; each table's next input is one line."""

import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmablate import figures
from lmablate.errors import UserError
from lmablate.report import Arguments, report
from lmablate.results.exports import RecordedRun, Thinning, write_tables
from tests.results.plots.scenes import SCENES, a_run, noisy

CLAIMS = {
    "C1": {"predicate": "less_than", "arm": {}, "constant": 5},
    "C2": {"predicate": "lower", "better": {"variant": "a"}, "worse": {"variant": "b"}},
    "C3": {"predicate": "trend_with_depth", "arm": {"variant": "a"}, "direction": "rises", "metric": "dead/layer_{i}"},
    "C4": {"predicate": "lower_at_best_lr", "better": {"variant": "a"}, "worse": {"variant": "b"}, "reduce": "spikes"},
    "C5": {"predicate": "slope_with", "factor": "optim.lr", "slope": 1},
    "C6": {"predicate": "greater_than", "arm": {"variant": "a"}, "constant": 1, "transform": "log", "reduce": "sd"},
}


def write_claims(folder: Path) -> Path:
    folder.mkdir()
    about = {"text": "t", "reported": "r", "question": "q", "experiment": "x", "metric": "val/loss", "margin": 0.01}
    for name, predicate in CLAIMS.items():
        arm = {"arm": {"variant": "a"}} if predicate.get("arm") == {} else {}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(about | {"id": name, "all_of": [predicate | arm]}))
    return folder


def aa(pairs: int) -> list[RecordedRun]:
    return [
        a_run(f"{salt}{seed}", factors={"model.init.salt": salt}, seed=seed, values=noisy(1 + seed))
        for seed in range(pairs)
        for salt in "ab"
    ]


STUDIES: dict[str, list[RecordedRun]] = {
    "one finished run": [a_run("a")],
    "two seeds": [a_run(name, seed=seed, values=noisy(1 + seed)) for name in "ab" for seed in range(2)],
    "one run each of two arms": [a_run("a"), a_run("b", values=noisy())],
    "equal arms": [a_run(name, seed=seed) for name in "ab" for seed in range(4)],
    "nothing is finished": [a_run("a", state="running"), a_run("b", state="failed")],
    "runs of a CSV file": [a_run("a", state="unknown"), a_run("b", state="unknown")],
    "damaged runs": [a_run("a", state="damaged"), a_run("b")],
    "unknown facts": [
        a_run(name, tokens=None, max_steps=None, warmup_steps=None, parameters=None, flops_per_token=None)
        for name in "ab"
    ],
    "one learning rate of two is finished": [
        a_run(f"r{lr}", factors={"variant": name, "optim.lr": lr}, state="done" if lr < 2e-3 else "failed")
        for name in "ab"
        for lr in (1e-3, 3e-3)
    ],
    **{name: SCENES[name] for name in (
        "one run of one step", "no measurements", "infinite", "not a number", "one arm is no numbers", "huge", "tiny",
        "diverged later", "a learning rate of zero", "nearly equal learning rates", "a long name",
    )},
}  # fmt: skip


class Ids(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if (found.get("href") or "").startswith("#"):
            self.targets.add((found["href"] or "")[1:])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in other tests, in processes of their own."""
    monkeypatch.setattr("lmablate.report.draw_all", lambda exports, names, out: {name: {} for name in names})


def arguments(folder: Path) -> Arguments:
    return Arguments(folder / "exports", folder / "claims", folder / "report.html", markdown=folder / "v.md")


def write_study(folder: Path, experiments: dict[str, list[RecordedRun]]) -> Arguments:
    write_claims(folder / "claims")
    for name, runs in experiments.items():
        named = [RecordedRun(**{**vars(run), "experiments": {name: {}}}) for run in runs]
        write_tables(named, name, folder / "exports", Thinning(), "none")
    return arguments(folder)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("scene", STUDIES)
def test_a_study_of_little_data_has_a_report(tmp_path: Path, scene: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = write_study(tmp_path, {"x": STUDIES[scene]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(args)
    page = (tmp_path / "report.html").read_text()
    ids = Ids(page)
    assert len({*ids.ids}) == len(ids.ids)
    assert ids.targets <= {*ids.ids}
    printed = capsys.readouterr().out
    for text in (page, printed, (tmp_path / "v.md").read_text()):
        assert not re.search(r"\bnan\b|\b1 (runs|seeds|pairs|points)\b|\b0\.00 x|\(s\)", text)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("pairs", "families"), [(1, ""), (2, ""), (3, ""), (4, "0 of 1 families of 4"), (5, "of 5")])
def test_an_aa_experiment_of_few_pairs_has_a_report(
    tmp_path: Path, pairs: int, families: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report(write_study(tmp_path, {"aa": aa(pairs)}))
    printed = capsys.readouterr().out
    assert f"on {pairs} pair{'s' * (pairs > 1)}" in printed
    assert families in printed
    assert ("aa: paired differences" in printed) == (pairs >= 4)
    assert " of 0 " not in printed


def text(path: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(content)


def remove_claims(folder: Path) -> None:
    for path in (folder / "claims").iterdir():
        path.unlink()


def edit_runs(old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / "exports" / "x.runs.csv"
        path.write_text(path.read_text().replace(old, new))

    return edit


# What is done to the files of a study -> the sentence.
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no claims": (remove_claims, r"claims holds no claim"),
    "an empty claim": (text("claims/C9.yaml", ""), r"C9\.yaml: a claim has the keys"),
    "a claim without predicates": (text("claims/C9.yaml", "id: C9\nall_of: []"), r"claim C9: text is missing"),
    "an empty table of runs": (text("exports/x.runs.csv", ""), r"exports of x in .* cannot be read"),
    "a table of no run": (lambda folder: keep_header(folder), r"x\.runs\.csv holds no run"),
    "a table without states": (edit_runs("state", "status"), r"x\.runs\.csv has no column state"),
    "a table without run ids": (edit_runs("run,", "name,"), r"x\.runs\.csv has no column run"),
    "a seed that is text": (edit_runs("x,0,", "x,zero,"), r"has a seed that is not a whole number"),
    "a missing seed": (edit_runs("x,0,", "x,,"), r"has a seed that is not a whole number"),
    "no table of runs": (lambda folder: (folder / "exports/x.runs.csv").unlink(), r"x\.runs\.csv is missing"),
    "empty measurements": (text("exports/x.parquet", ""), r"cannot be read"),
    "measurements that are text": (text("exports/x.parquet", "a,b\n1,2\n"), r"cannot be read"),
    "no exports": (lambda folder: [path.unlink() for path in (folder / "exports").iterdir()], r"holds no table"),
    "an empty audit": (text("exports/x.audit.json", ""), r"x\.audit\.json cannot be read"),
    "an audit of nothing": (text("exports/x.audit.json", "{}"), r"'warnings' is a required property"),
    "an audit that is a list": (text("exports/x.audit.json", "[]"), r"x\.audit\.json is malformed at \$: "),
    "warnings that are text": (text("exports/x.audit.json", '{"warnings": "a"}'), r"json is malformed at \$\.warnings"),
    "an experiment that no file may be called": (text("exports/a b.parquet", ""), r"experiment='a b' is not allowed"),
}


def keep_header(folder: Path) -> None:
    path = folder / "exports" / "x.runs.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("scene", DAMAGE)
def test_a_damaged_study_is_refused_in_one_sentence_and_nothing_is_written(tmp_path: Path, scene: str) -> None:
    change, complaint = DAMAGE[scene]
    args = write_study(tmp_path, {"x": [a_run("a"), a_run("b")]})
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=complaint) as error:
        report(args)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "runs"),
    [("empty", SCENES["no measurements"]), ("damaged", None), ("headless", None)],
)
def test_an_experiment_that_cannot_be_drawn_does_not_block_the_others(
    tmp_path: Path, name: str, runs: list[RecordedRun] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, {"good": [a_run()], **({name: runs} if runs else {})})
    if name == "damaged":
        (tmp_path / "exports" / "damaged.parquet").write_bytes(b"PAR1")
        (tmp_path / "exports" / "damaged.runs.csv").write_text("")
    if name == "headless":
        (tmp_path / "exports" / "headless.parquet").write_bytes(b"")
    saved: list[Any] = []
    target = "lmablate.results.plots.save_figure"
    monkeypatch.setattr(target, lambda figure, stem, formats: saved.append(stem) or [stem])
    args = figures.Arguments("all", tmp_path / "exports", tmp_path / "figures")
    with pytest.raises(UserError, match=name):
        figures.figures(args)
    assert {stem.parent.name for stem in saved} == {"good"}
