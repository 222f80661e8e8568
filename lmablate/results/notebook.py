"""A notebook about an experiment: its tables, its comparison and all its figures, from any folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lmablate.files import write_bytes

_SETTINGS = """\
EXPERIMENT = {name}
EXPORTS = {exports}  # the folder of the tables; None looks for them in this folder and those above
CSV_FOLDER = None  # a folder of CSV files saved from wandb's page, which are read instead
REFERENCE = {reference}  # the arm that the others are compared with, such as "model/pos=rope"; None for the first"""

_LOAD = """\
%matplotlib inline
from IPython.display import display

from lmablate.results.exports import open_experiment
from lmablate.results.plots import gallery, summary
from lmablate.results.report.comparison import compare

data = open_experiment(EXPERIMENT, EXPORTS, CSV_FOLDER)
summary(data)"""

_COMPARE = """\
comparison = compare(data, REFERENCE)
if comparison:
    display(comparison.as_frame())
    print(comparison.caption)"""

_DRAW = """\
for name, figure in gallery(data):
    print(name)
    display(figure)"""


def make_notebook(
    experiment: str,
    description: str,
    questions: Sequence[str],
    commands: Sequence[str],
    exports: Path | None = None,
    reference: str | None = None,
) -> nbformat.NotebookNode:
    """Return the notebook of an experiment, without outputs.

    Args:
        experiment: its name, which is the title.
        description: a sentence about it; may be empty.
        questions: what it is to answer.
        commands: those that train its runs.
        exports: the folder of the tables; None looks for them.
        reference: the arm that the others are compared with; None for the first.
    """
    title = f"# {experiment.replace('_', ' ').capitalize()}"
    asked = "\n".join(f"- {question}" for question in questions)
    source = "The runs come from\n\n" + "\n".join(f"    {command}" for command in commands)
    text = [title, *([f"{description}."] if description else []), *([asked] if asked else []), source]
    values = {"name": experiment, "exports": None if exports is None else str(exports), "reference": reference}
    settings = _SETTINGS.format(**{key: _literal(value) for key, value in values.items()})
    cells = [new_markdown_cell("\n\n".join(text)), *map(new_code_cell, (settings, _LOAD, _COMPARE, _DRAW))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat draws random ids, which would change the file each time
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=kernel)


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, as Jupyter does."""
    write_bytes(path, f"{nbformat.writes(notebook)}\n".encode())


def is_notebook_like(path: Path, notebook: nbformat.NotebookNode) -> bool:
    """Return whether a file has the code of a notebook, as when nobody has edited it; it may have outputs."""
    try:
        return _code(nbformat.read(path, as_version=4)) == _code(notebook)
    except Exception:  # nbformat raises whatever a damaged file leads to
        return False


def _code(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def _literal(value: str | None) -> str:
    return "None" if value is None else json.dumps(value, ensure_ascii=False)
