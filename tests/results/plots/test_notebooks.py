"""Every notebook runs from the committed exports."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
QUICK = "positional_encoding"


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[] if p.stem == QUICK else [pytest.mark.slow]) for p in NOTEBOOKS],
)
def test_a_notebook_runs_from_the_committed_exports(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exports").symlink_to(ROOT / "analysis" / "exports")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4


def test_notebooks_are_those_that_the_script_writes() -> None:
    import scripts.make_notebooks as script

    assert {path.stem for path in NOTEBOOKS} == {*script.QUESTIONS}
    for path in NOTEBOOKS:
        written = nbformat.writes(script.make_notebook(path.stem, script.QUESTIONS[path.stem]))
        assert path.read_text().strip() == written.strip()
