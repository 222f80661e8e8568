"""A file is replaced only by a newer version of itself; what is not ours stays as it is, unless overwrite=true.

Each foreign content, and each output of a command, is one line of a table.
"""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from lmablate import export, figures, report
from lmablate.errors import UserError
from lmablate.results.exports import RecordedRun, Thinning, write_tables
from lmablate.results.report.verdict_table import MARKDOWN_HEAD
from tests.results.exports.helpers import make_config, make_run, training_rows
from tests.results.plots.scenes import a_run

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
FOREIGN: dict[str, bytes] = {
    "nothing": b"",
    "a note": b"my own notes\n",
    "no text": bytes(range(256)),
    "a table": b"id,text,kind\nC1,something else,good\n",
    "another table": b"a,b\n1,2\n",
    "a page": b"<html><body>C1 t</body></html>",
    "a picture": PNG,
    "json": b'{"warnings": 1}',
    "a README with a table of ours in it": f"# Mine\n\n\n\n{MARKDOWN_HEAD}\n| C1 | r | x |\n".encode(),
}


def claim(name: str, text: str = "t") -> dict:
    about = {"reported": "r", "question": "q", "experiment": "x", "metric": "val/loss"}
    test = {"predicate": "less_than", "arm": {"variant": "a"}, "constant": 5}
    return about | {"id": name, "text": text, "all_of": [test]}


def write_claims(folder: Path, *claims: dict) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for each in claims:
        (folder / f"{each['id']}.yaml").write_text(yaml.safe_dump(each))
    return folder


class Workshop:
    """A folder with exports, claims and runs, and the commands with outputs in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        write_tables([a_run("a"), a_run("b")], "x", folder / "exports", Thinning(), "none")
        write_claims(folder / "claims", claim("C1"), claim("C2", "another"))
        make_run(folder / "runs", training_rows(0, steps=20), {"x": {}}, make_config(0))

    def report(self, **keys: Any) -> None:
        about: dict[str, Any] = {"exports": self.folder / "exports", "claims": self.folder / "claims"}
        outputs: dict[str, Any] = {"out": self.folder / "report.html", "markdown": self.folder / "verdicts.md"}
        report.report(report.Arguments(**(about | outputs | keys)))

    def figures(self, **keys: Any) -> None:
        figures.figures(figures.Arguments("x", self.folder / "exports", self.folder / "figures", **keys))

    def export(self, **keys: Any) -> None:
        about: dict[str, Any] = {"runs_dir": self.folder / "runs", "out": self.folder / "tables"}
        export.export(export.Arguments("x", **(about | keys)))

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr("lmablate.report.draw_all", lambda exports, names, out: {name: {} for name in names})
    return Workshop(tmp_path)


# A command, a file that it writes, and the key that names it.
OUTPUTS: list[tuple[Callable[..., None], str, str]] = [
    (Workshop.report, "report.html", "out"),
    (Workshop.report, "verdicts.csv", "verdicts"),
    (Workshop.report, "verdicts.md", "markdown"),
    (Workshop.report, "figures/x/overview.png", "figures"),
    (Workshop.report, "figures/x/tied_grad_cosine.svg", "figures"),
    (Workshop.figures, "figures/x/overview.png", "out"),
    (Workshop.figures, "figures/x/val_loss.svg", "out"),
    (Workshop.export, "tables/x.parquet", "out"),
    (Workshop.export, "tables/x.csv", "out"),
    (Workshop.export, "tables/x.runs.csv", "out"),
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize(("command", "output", "key"), OUTPUTS)
def test_a_foreign_file_stays_and_nothing_is_written(
    workshop: Workshop, command: Callable[..., None], output: str, key: str, foreign: str
) -> None:
    path = workshop.folder / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FOREIGN[foreign])
    before = workshop.files()
    with pytest.raises(UserError, match=rf"{path.name} exists already .* another {key}=\.\.\., or add overwrite=true"):
        command(workshop)
    assert workshop.files() == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("command", "output", "key"), OUTPUTS)
def test_a_folder_in_the_place_of_a_file_is_named(
    workshop: Workshop, command: Callable[..., None], output: str, key: str, overwrite: bool
) -> None:
    (workshop.folder / output).mkdir(parents=True)
    before = workshop.files()
    with pytest.raises(UserError, match=f"{key}: .* is a folder"):
        command(workshop, overwrite=overwrite)
    assert workshop.files() == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("command", "output", "key"), [row for row in OUTPUTS if "/" in row[1]])
def test_a_file_in_the_place_of_a_folder_is_named(
    workshop: Workshop, command: Callable[..., None], output: str, key: str, overwrite: bool
) -> None:
    (workshop.folder / output.partition("/")[0]).write_text("mine")
    before = workshop.files()
    with pytest.raises(UserError, match=f"{key}: .* is a file"):
        command(workshop, overwrite=overwrite)
    assert workshop.files() == before


def test_a_pipe_is_neither_read_nor_replaced(workshop: Workshop) -> None:
    os.mkfifo(workshop.folder / "pipe")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="pipe is a device or a pipe, and a file cannot replace it"):
            workshop.report(out=workshop.folder / "pipe", overwrite=overwrite)
    assert (workshop.folder / "pipe").is_fifo()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "output", "key"), [row for row in OUTPUTS if row[2] != "figures"])
def test_a_file_is_replaced_by_a_newer_version_and_on_request(
    workshop: Workshop, command: Callable[..., None], output: str, key: str
) -> None:
    command(workshop)
    written = (workshop.folder / output).read_bytes()
    command(workshop)
    (workshop.folder / output).write_bytes(b"mine")
    command(workshop, overwrite=True)
    assert (workshop.folder / output).read_bytes() == written


def test_a_study_replaces_its_own_report_when_a_claim_is_added_or_reworded(workshop: Workshop) -> None:
    workshop.report()
    write_claims(workshop.folder / "claims", claim("C1", "reworded"), claim("C2", "another"), claim("C3", "new"))
    workshop.report()
    for name in ("report.html", "verdicts.csv"):
        assert "reworded" in (workshop.folder / name).read_text()


@pytest.mark.parametrize("output", ["report.html", "verdicts.csv", "verdicts.md"])
def test_another_study_does_not_replace_a_report(workshop: Workshop, output: str) -> None:
    workshop.report()
    for name in {"report.html", "verdicts.csv", "verdicts.md"} - {output}:
        (workshop.folder / name).unlink()
    mine = claim("C1", "my own") | {"reported": "mine"}
    write_claims(workshop.folder / "claims", mine)
    before = workshop.files()
    with pytest.raises(UserError, match=f"{output} exists already and is not .* of a study with one of these claims"):
        workshop.report()
    assert workshop.files() == before
    workshop.report(overwrite=True)
    assert ("mine" if output.endswith("md") else "my own") in (workshop.folder / output).read_text()


def test_outputs_are_beside_the_page(workshop: Workshop) -> None:
    before = workshop.files()
    workshop.report(out=workshop.folder / "mine" / "page.html", markdown=None)
    new = {path.relative_to(workshop.folder) for path in workshop.files().keys() - before.keys()}
    assert new == {Path("mine/page.html"), Path("mine/verdicts.csv")}


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"out": "a", "verdicts": "a"}, "verdicts=.*a is the same file as out"),
        ({"out": "a", "markdown": "a"}, "markdown=.*a is the same file as out"),
        ({"verdicts": "a", "figures": "a"}, "figures=.*a is the same file as verdicts"),
        ({"out": "verdicts.csv"}, "verdicts=.* is the same file as out"),
        ({"markdown": "verdicts.csv"}, "markdown=.* is the same file as verdicts"),
    ],
)
def test_two_outputs_in_one_place_are_refused(workshop: Workshop, keys: dict[str, str], complaint: str) -> None:
    before = workshop.files()
    with pytest.raises(UserError, match=complaint):
        workshop.report(**{key: workshop.folder / name for key, name in keys.items()})
    assert workshop.files() == before


def test_other_runs_of_the_same_name_do_not_replace_exports(workshop: Workshop) -> None:
    workshop.export()
    make_run(workshop.folder / "others", training_rows(1, steps=20), {"x": {}}, make_config(1))
    before = workshop.files()
    with pytest.raises(UserError, match=r"x\.runs\.csv exists already and is not a table of these runs"):
        workshop.export(runs_dir=workshop.folder / "others")
    assert workshop.files() == before
    make_run(workshop.folder / "runs", training_rows(1, steps=20), {"x": {}}, make_config(1))
    workshop.export()  # a run more
    assert len(pd.read_csv(workshop.folder / "tables" / "x.runs.csv")) == 2


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_table_of_another_form_is_removed_only_if_it_is_ours(workshop: Workshop, name: str) -> None:
    workshop.export(csv="gzip" if name.endswith("gz") else "plain")
    workshop.export(csv="none")
    assert not (workshop.folder / "tables" / name).exists()
    content = gzip.compress(b"a,b\n") if name.endswith("gz") else b"a,b\n"
    (workshop.folder / "tables" / name).write_bytes(content)
    workshop.export(csv="none")
    assert (workshop.folder / "tables" / name).read_bytes() == content


def test_an_experiment_called_like_the_table_of_another_is_not_written_over_it(tmp_path: Path) -> None:
    runs = [RecordedRun("r", 0, "done", dict, experiments={"x": {}, "x.runs": {}})]
    with pytest.raises(UserError, match=r"experiment=x\.runs is not allowed"):
        write_tables(runs, "x.runs", tmp_path, Thinning())
