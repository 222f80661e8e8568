"""Every notebook runs, from the committed exports or, before there are any, from made-up runs."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lmablate.exports import Thinning, read, write
from tests.exports.factory import learning, make_config, make_run

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
ARMS = {
    "norm_location": [{"norm": "pre"}, {"norm": "post"}],
    "weight_tying": [{"tying": t, "init": i} for t in ("true", "false") for i in ("cs336", "scaled")],
    "activation": [{"act": "relu"}, {"act": "gelu"}],
}
QUICK = "positional_encoding"


def provide_exports(experiment: str, folder: Path) -> None:
    """Copies what is committed, else exports runs made up for the purpose."""
    folder.mkdir()
    committed = sorted((ROOT / "analysis" / "exports").glob(f"{experiment}.*"))
    for path in committed:
        shutil.copy(path, folder)
    if not committed:
        for seed in range(2):
            for slots in ARMS.get(experiment, [{"pos": "rope"}, {"pos": "nope"}]):
                choices = {f"model/{slot}": option for slot, option in slots.items()}
                rows = learning(seed, steps=60, eval_every=20)
                make_run(folder / "runs", rows, {experiment: choices}, make_config(seed, 60, 10, **slots))
        write(read("metrics", folder / "runs"), experiment, folder, Thinning())


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[] if p.stem == QUICK else [pytest.mark.slow]) for p in NOTEBOOKS],
)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide_exports(path.stem, tmp_path / "exports")
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
        written = nbformat.writes(script.notebook(path.stem, script.QUESTIONS[path.stem]))
        assert path.read_text().strip() == written.strip()
