"""`python -m lmablate.report` as a user runs it: from exports to verdicts, figures and one page."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from lmablate.config.key_value import run_key_value_command
from lmablate.report import Arguments, report
from lmablate.results.exports import Thinning, read_runs, write_tables
from tests.results.exports.helpers import make_config, make_run, training_rows
from tests.results.report.helpers import simulated, write_exports

CLAIM = {
    "id": "C1",
    "text": "RoPE's validation loss is lower than that of no positions.",
    "reported": "RoPE is best & <always> so.",
    "question": "Does it matter how positions are encoded?",
    "experiment": "positional_encoding",
    "metric": "val/loss",
    "margin": 0.01,
    "all_of": [{"predicate": "lower", "better": {"model/pos": "rope"}, "worse": {"model/pos": "nope"}}],
}
FLOORS = {"rope": 4.0, "nope": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of six made-up runs, and one claim about them."""
    folder = tmp_path_factory.mktemp("study")
    for seed in range(3):
        for pos, floor in FLOORS.items():
            choices = {"positional_encoding": {"model/pos": pos}}
            rows = training_rows(seed, floor=floor, steps=60, eval_every=20, spread=0.005)
            make_run(folder / "runs", rows, choices, make_config(seed, 60, 10, pos=pos))
    write_tables(read_runs("metrics", folder / "runs"), "positional_encoding", folder / "exports", Thinning())
    (folder / "claims").mkdir()
    (folder / "claims" / "C1.yaml").write_text(yaml.safe_dump(CLAIM))
    return folder


def arguments(folder: Path, out: Path) -> Arguments:
    return Arguments(
        exports=folder / "exports", claims=folder / "claims", figures=out / "figures", out=out / "report.html",
        verdicts=out / "verdicts.csv", markdown=out / "verdicts.md",
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    report(arguments(folder, out))
    return out


class Loads(HTMLParser):
    """Collects everything that a page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_loads_nothing_from_elsewhere(written: Path) -> None:
    page = (written / "report.html").read_text()
    loads = Loads(page)
    assert loads.found
    assert all(value.startswith(("#", "data:image/svg+xml,")) for value in loads.found)
    assert not loads.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"@import|url\((?!%23)", page)  # clip paths of a picture
    pictures = [unquote(v.split(",", 1)[1]) for v in loads.found if v.startswith("data:")]
    assert pictures
    assert not any(re.search(r"""(href|src)=["'](?!#)""", picture) for picture in pictures)


def test_every_link_in_the_page_has_a_target(written: Path) -> None:
    page = (written / "report.html").read_text()
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert {value[1:] for value in Loads(page).found if value.startswith("#")} <= targets


def test_the_verdict_is_on_the_page_in_the_table_and_in_markdown(written: Path, folder: Path) -> None:
    row = pd.read_csv(written / "verdicts.csv").iloc[0]
    runs = pd.read_csv(folder / "exports" / "positional_encoding.runs.csv")["run"]
    assert (row["id"], row["kind"], row["n"]) == ("C1", "SUPPORTED", 3)
    assert row["effect"] == pytest.approx(FLOORS["nope"] - FLOORS["rope"], abs=0.05)
    assert sorted(row["runs"].split()) == sorted(runs)
    page, markdown = (written / "report.html").read_text(), (written / "verdicts.md").read_text()
    assert '<span class="badge supported">SUPPORTED</span>' in page
    assert all(run in page for run in runs)
    assert "RoPE is best &amp; &lt;always&gt; so." in page, "a claim's text must not become markup"
    assert r"| C1 | RoPE is best & \<always> so. | **SUPPORTED** † |" in markdown


def test_the_same_exports_give_the_same_bytes(written: Path, folder: Path, tmp_path: Path) -> None:
    report(arguments(folder, tmp_path))
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert len(files) > 10
    assert [f for f in files if (written / f).read_bytes() != (tmp_path / f).read_bytes()] == []


def test_the_command_prints_verdicts_and_runs_without_torch_hydra_or_wandb(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from lmablate.report import *; from lmablate.config import key_value\n"
        "key_value.run_key_value_command('lmablate.report', Arguments, report)\n"
        "print([m for m in ('torch', 'hydra', 'wandb') if m in sys.modules])"
    )
    keys = arguments(folder, tmp_path).__dict__
    typed = [f"{key}={value}" for key, value in keys.items() if value is not None]
    done = subprocess.run([sys.executable, "-c", code, *typed], capture_output=True, text=True, check=True)
    assert "Of 1 claim, 1 holds." in done.stdout
    assert (
        f"The runs behind each verdict are on the page, and in the column runs of {tmp_path}/verdicts.csv."
        in done.stdout
    )
    assert not re.search(r"[0-9a-f]{10}", done.stdout.replace(str(tmp_path), "")), "a run's id"
    *_, page, loaded = done.stdout.splitlines()
    assert page == str(tmp_path / "report.html")
    assert loaded == "[]"


def test_runs_of_other_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = simulated(0, pairs=2)
    write_exports(study, tmp_path, only="aa")
    write_exports(study, tmp_path, only="activation_llama", code_version="c2")
    assert refusal(tmp_path, capsys).count("mixes code versions") == 1


def test_an_experiment_may_have_a_text_of_its_own(tmp_path: Path) -> None:
    study = simulated(0, pairs=2)
    write_exports(study, tmp_path, only="aa")
    write_exports(study, tmp_path, only="activation_llama", data_fingerprint="other")
    report(Arguments(exports=tmp_path, out=tmp_path / "report.html"))
    assert "<code>other</code>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fact", "message"),
    [("tokens", "Experiment aa mixes unequal budgets of tokens"), ("data_fingerprint", "Experiment aa mixes data")],
)
def test_runs_of_unequal_budgets_or_texts_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fact: str, message: str
) -> None:
    write_exports(simulated(0, pairs=2), tmp_path, only="aa")
    path = tmp_path / "aa.runs.csv"
    runs = pd.read_csv(path)
    runs[fact] = [*runs[fact][:1], *(f"{value}0" for value in runs[fact][1:])]
    runs.to_csv(path, index=False)
    assert message in refusal(tmp_path, capsys)


def test_a_folder_without_exports_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"exports={tmp_path} holds no table" in refusal(tmp_path, capsys)


def refusal(exports: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one sentence with which the command ends; it must have written nothing."""
    typed = [f"exports={exports}", f"out={exports}/report.html", f"verdicts={exports}/verdicts.csv"]
    with patch.object(sys, "argv", ["lmablate.report", *typed]), pytest.raises(SystemExit) as leaving:
        run_key_value_command("lmablate.report", Arguments, report)
    assert leaving.value.code == 2
    assert not (exports / "report.html").exists()
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    return message


def test_the_claims_of_lmablate_are_found_from_any_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmablate.report.draw_all", lambda exports, names, out: {name: {} for name in names})
    report(Arguments(exports=folder / "exports", out=Path("page.html")))
    assert capsys.readouterr().out.splitlines()[0].strip().startswith("Of 20 claims")
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "verdicts.csv"}
