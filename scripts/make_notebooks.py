"""Write analysis/<experiment>.ipynb for each experiment that has exports: `python scripts/make_notebooks.py`.

A notebook that exists may have been edited: it is replaced only by `python scripts/make_notebooks.py overwrite=true`.
"""

import sys
from pathlib import Path

import nbformat

from lmablate.config.schema import CONF
from lmablate.evidence import load_claims
from lmablate.results.descriptions import describe_experiment
from lmablate.results.exports import exported_names
from lmablate.results.notebook import make_notebook, write_notebook

ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"


def notebooks() -> dict[Path, nbformat.NotebookNode]:
    """Return the notebook of each experiment that has exports, by its path."""
    claims = load_claims(CONF / "claim")
    found = {}
    for name in exported_names(ANALYSIS / "exports"):
        questions = dict.fromkeys(claim.question for claim in claims if name in claim.experiments)
        command = f"python -m lmablate.train experiment={name}"
        found[ANALYSIS / f"{name}.ipynb"] = make_notebook(name, describe_experiment(name), [*questions], [command])
    return found


def main() -> None:
    """Write every notebook that does not exist, or all if asked to."""
    for path, notebook in notebooks().items():
        if not path.exists() or sys.argv[1:] == ["overwrite=true"]:
            write_notebook(notebook, path)
        elif nbformat.read(path, as_version=4) != notebook:
            print(f"{path} has other cells and is left as it is: add overwrite=true to replace it.")


if __name__ == "__main__":
    main()
