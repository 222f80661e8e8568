"""Every notebook runs from the committed exports."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
QUICK = "positional_encoding"


# Folders in which a notebook may be started, from the repository's own to one that has nothing to do with it.
FOLDERS = ["analysis", ".", "lmablate/model", None]


def marks_of(number: int, path: Path) -> list[pytest.MarkDecorator]:
    """One notebook is quick to be run, one more for each folder is slow, and all others are of the long tests."""
    if path.stem == QUICK:
        return []
    return [pytest.mark.slow] if number < len(FOLDERS) else [pytest.mark.slow, pytest.mark.faults]


def run_in(notebook: nbformat.NotebookNode, folder: Path) -> list[nbformat.NotebookNode]:
    """Run a notebook with `folder` as the current one, and return its outputs."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize(
    ("path", "folder"),
    [pytest.param(p, FOLDERS[i % len(FOLDERS)], id=p.stem, marks=marks_of(i, p)) for i, p in enumerate(NOTEBOOKS)],
)
def test_a_notebook_runs_from_the_committed_exports(
    path: Path, folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    outputs = run_in(notebook, tmp_path if folder is None else ROOT / folder)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4


def test_notebooks_are_those_that_the_script_writes() -> None:
    import scripts.make_notebooks as script

    written = script.notebooks()
    assert {*NOTEBOOKS} == {*written}
    for path, notebook in written.items():
        assert path.read_text().strip() == nbformat.writes(notebook).strip()
