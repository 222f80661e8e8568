"""The pages say what is so: the map agrees with the imports, named files and functions exist, examples run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_structure import COMMANDS, LEAVES, LIBRARY, PACKAGE, ROOT, import_graph, layers
from tests.tiny import SMALL, command, overrides, write_corpus

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def listed(text: str) -> set[str]:
    return {name for name in re.split(r",\s*", text.strip()) if name}


def test_the_diagram_shows_the_layers_of_the_import_graph() -> None:
    drawn = re.findall(r"^layer (\d+)  (.+)$", ARCHITECTURE, re.MULTILINE)
    assert {int(number): listed(units) for number, units in drawn} == dict(enumerate(layers(), start=1))


def test_the_table_of_packages_shows_the_import_graph() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|`]+) \|$", ARCHITECTURE, re.MULTILINE)
    packages = {unit for unit in import_graph() if unit not in COMMANDS | LEAVES | LIBRARY}
    assert {package: listed(used) for package, used in rows} == {name: import_graph()[name] for name in packages}


def table_rows(page: str) -> Iterator[str]:
    yield from re.findall(r"^\|(.+)\|$", page, re.MULTILINE)


@pytest.mark.parametrize("row", [row for row in table_rows(ARCHITECTURE) if ".py`" in row])
def test_what_the_map_names_exists(row: str) -> None:
    names = re.findall(r"`([^`]+)`", row)
    files: list[Path] = []
    for name in names:
        if name.endswith(("/", ".py", ".html", ".css", ".yaml")):
            places = [PACKAGE / name, ROOT / name, *(file.parent / name for file in files)]
            found = [place for place in places if place.exists()]
            assert found or "<" in name, f"{name} does not exist"
            files += found
    text = "".join(file.read_text() for file in files if file.is_file())
    for name in names:
        if name.isidentifier():
            assert re.search(rf"\b{name}\b", text), f"{name} is not in {[str(file) for file in files]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_file_of_a_run_is_described(tmp_path: Path) -> None:
    """A finished run with all trackers and a run that diverged leave nothing that docs/run_folder.md does not name."""
    page = (ROOT / "docs" / "run_folder.md").read_text()
    done = command([*overrides(tmp_path), "tracking=wandb_and_tensorboard"])
    assert done.returncode == 0, done.stderr
    diverged = command([*overrides(tmp_path), "optim.lr=1e30", "train.max_steps=20"])
    assert diverged.returncode == 1, diverged.stderr
    described = set(re.findall(r"`([^`]+)`", page))
    for run in (tmp_path / "runs").glob("*/run.json"):
        for path in run.parent.iterdir():
            assert path.name in described or f"{path.name}/" in page, path
        for name in ("run.json", "status.json"):
            for key in json.loads((run.parent / name).read_text()):
                assert key in described or f"{key}." in page, (name, key)


# ---------------------------------------------------------------------------------- docs/extending.md, as typed

BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)


def extend(project: Path, page: str) -> list[str]:
    """Write the files of the page into a project, as the page says. Returns its shell commands."""
    commands: list[str] = []
    for block in BLOCK.finditer(page):
        if block["language"] == "sh":
            commands += [line.split("#")[0].strip() for line in block["code"].splitlines() if line.strip()]
        else:
            (path,) = re.findall(r"`([\w/]+\.(?:py|yaml))`", block["before"])[-1:]
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(block["code"])
    return commands


@pytest.mark.slow
def test_the_examples_of_extending_run_as_typed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true", "LMABLATE_TRUST": ""}
    project = tmp_path / "mine"

    def run(*line: str, folder: Path = project) -> str:
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "lmablate.new", "mine", folder=tmp_path)
    commands = extend(project, (ROOT / "docs" / "extending.md").read_text())
    assert commands[:4] == ["lmablate new mine", "cd mine", "make test", "export LMABLATE_TRUST=mine"]
    environment["LMABLATE_TRUST"] = "mine"
    assert any("lmablate.train" in line for line in commands)
    small = [*SMALL, *write_corpus(tmp_path)]  # each run ends with the loss on the whole validation text
    for line in commands[4:]:
        program, *arguments = line.split()
        if program == "make":
            run("make", *arguments, f"PYTHON={sys.executable}")
            continue
        name = arguments[1]
        composing = ("train", "plan", "lr_sweep", "audit", "tune", "decide")
        composes = name.removeprefix("lmablate.") in composing
        printed = run(sys.executable, *arguments, *(small if composes else []))
        if name == "lmablate.report":
            assert "E1" in printed
            assert "C01" not in printed
