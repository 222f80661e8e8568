"""A name that a user chooses has no meaning to us, to pandas, matplotlib, HTML, Markdown or the terminal.

Each of NAMES is an arm of one experiment, read from a CSV file; the next name is one line of that table.
"""

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from lmablate.audit import arms_table
from lmablate.evidence import Claim, Kind, Verdict
from lmablate.export import Arguments, export
from lmablate.plan import costs_table
from lmablate.results.exports import Exported, load_exported
from lmablate.results.exports.catalogue import choices_of_name
from lmablate.results.exports.factors import factor_columns
from lmablate.results.exports.recorded import COLUMNS, RecordedRun, printable
from lmablate.results.plots import curve_figure, summary
from lmablate.results.plots.summary import results_table
from lmablate.results.plots.text import fitted
from lmablate.results.report.page import make_section, render_page
from lmablate.results.report.study import Study
from lmablate.results.report.verdict_table import (
    is_csv_of,
    is_markdown_of,
    markdown_table,
    terminal_table,
    verdict_rows,
)
from lmablate.results.run_table import states_table
from lmablate.results.terminal import open_console
from lmablate.runs.states import RunState
from lmablate.sweep.arm_audit import ArmAudit
from tests.results.plots.scenes import NAMES, drawn_texts

SIZES = ("d_ff", "context_length", "batch_size", "max_steps")


def claim(text: str) -> Claim:
    return Claim("C1", f"tested {text}", f"reported {text}", f"question {text}", (), note=f"note {text}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("pages")
    with (folder / "page.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Step", *(f"{name}-s0 - val/loss" for name in NAMES)])
        table.writerows([step, *(number + step for number in range(len(NAMES)))] for step in range(3))
    export(Arguments("x", source="csv", folder=folder, runs_dir=folder, out=folder / "out"))
    return load_exported(folder / "out", "x")


class Cells(HTMLParser):
    """Collects the texts of a page's elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: set[str] = set()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.texts.add(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]


@pytest.fixture(scope="module")
def page(data: Exported) -> Cells:
    study = Study({"x": data})
    return Cells(render_page(study, [], [make_section(data, {}, (), [])], [], []))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_an_arm_is_kept(data: Exported, page: Cells, name: str) -> None:
    kept = printable(name)
    row = data.runs.set_index("run").loc[f"{kept}-s0"]
    assert (row["variant"], row["seed"], row["val/loss"]) == (kept, 0, NAMES.index(name) + 2)
    assert data.metrics.wide("val/loss", [f"{kept}-s0"]).shape == (3, 1)
    assert kept in summary(data)["variant"].tolist()
    assert kept in page.texts
    assert not page.tags & {"bold", "red", "b"}


def test_all_names_are_in_the_table_on_the_terminal(data: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    open_console(200).print(results_table(data))
    printed = capsys.readouterr().out
    assert [name for name in NAMES if printable(name) not in printed and name.strip()] == []
    assert "\x1b" not in printed


def test_all_names_are_in_the_figure(data: Exported) -> None:
    shown = {text.get_text() for text in drawn_texts(curve_figure(data, "val/loss"))}
    assert [name for name in NAMES if fitted(printable(name), 190, 7.5) not in shown] == []


@pytest.mark.parametrize("text", NAMES)
def test_a_text_of_a_claim_is_kept(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    claims = [claim(text)]
    verdicts = [Verdict(claims[0], Kind.NOT_RUN, f"Not run: {text} -3.")]
    verdict_rows(verdicts).to_csv(tmp_path / "v.csv", index=False, lineterminator="\n")
    read = pd.read_csv(tmp_path / "v.csv", keep_default_na=False)
    assert read.loc[0, "sentence"] == verdicts[0].sentence
    assert is_csv_of(tmp_path / "v.csv", claims)
    (tmp_path / "v.md").write_text(markdown_table(verdicts), encoding="utf-8")
    assert is_markdown_of(tmp_path / "v.md", claims)
    assert unescaped(markdown_table(verdicts).splitlines()[4]) == f"reported {' '.join(text.split())}".strip()
    if text.isprintable():
        open_console(400).print(terminal_table(verdicts))
        assert f"reported {text}".strip() in capsys.readouterr().out


def unescaped(row: str) -> str:
    """Return the second cell of a row of a Markdown table, without the backslashes before markup."""
    cells, escape = [""], False
    for character in row:
        if escape or character not in "\\|":
            cells[-1] += character
            escape = False
        elif character == "\\":
            escape = True
        else:
            cells.append("")
    return cells[2].strip()


def test_all_texts_of_claims_are_on_the_page(data: Exported) -> None:
    claims = [replace(claim(name), id=f"C{i}") for i, name in enumerate(NAMES)]
    verdicts = [Verdict(each, Kind.NOT_RUN, f"Not run: {each.text} -3.") for each in claims]
    page = Cells(render_page(Study({"x": data}), verdicts, [make_section(data, {}, (), verdicts)], [], []))
    for each in claims:
        assert {each.text, each.reported, each.note, f"Not run: {each.text} -3."} <= page.texts
    assert len({*page.ids}) == len(page.ids)
    assert not page.tags & {"bold", "red", "b"}


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "experiment"])  # it is no factor at all
def test_a_factor_called_like_a_column_has_another_column(name: str) -> None:
    runs = [RecordedRun(f"r{i}", 0, "done", dict, {name: f"level {i}"}) for i in range(2)]
    assert factor_columns(runs) == {f"config.{name}": ["level 0", "level 1"]}


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_is_text_in_the_tables_of_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = RunState("r", name, "failed", None, None, None, f"detail {name}")
    cfg = OmegaConf.create(dict.fromkeys(("model", "train"), dict.fromkeys(SIZES, 8)))
    arm = ArmAudit(name, *[1.0] * 9, cfg=cfg, layer_grad_norms=[1.0], seconds_per_token=1.0, saved_bytes_per_token=1.0)
    for table in (states_table([state]), arms_table([arm]), costs_table({name: arm})):
        open_console(600).print(table)
        printed = capsys.readouterr().out
        assert printable(name).strip() in printed
        assert "\x1b" not in printed


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_read_off_the_end_of_any_name(name: str) -> None:
    assert choices_of_name(printable(name) + "-s7") == ({"variant": printable(name)}, 7)
