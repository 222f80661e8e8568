"""Write analysis/<experiment>.ipynb, one short notebook per experiment: `python scripts/make_notebooks.py`.

A notebook that exists may have been edited: it is replaced only by `python scripts/make_notebooks.py overwrite=true`.
"""

import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

QUESTIONS = {
    "llama_vs_vanilla": "Does the Llama recipe (pre-norm, RMSNorm, RoPE, SwiGLU) beat the first "
    "Transformer (post-norm, LayerNorm, sinusoidal positions, ReLU), and does it get there sooner?",
    "llama_vs_vanilla_lr": "Which is better with each at its own best learning rate, Llama or vanilla?",
    "norm_location": "Pre-norm or post-norm: which ends at a lower loss, and which has the calmer gradient?",
    "norm_location_lr": "Which is better with each at its own best learning rate, pre-norm or post-norm?",
    "norm_init": "With which norm placement, tying and initialisation does the gradient explode at step 0?",
    "positional_encoding": "RoPE, sinusoidal, learned or no positions: which ends at the lowest loss, and by how much?",
    "weight_tying": "At equal parameters, are tied embeddings better than a smaller MLP with untied ones? "
    "Does the answer depend on the initialisation?",
    "weight_tying_flops": "Are tied or untied embeddings better at equal training FLOPs?",
    "activation": "ReLU, SiLU or GELU: does the activation alone matter?",
    "activation_vanilla": "Is SwiGLU better than ReLU at equal parameters, on the vanilla model?",
    "activation_llama": "Is SwiGLU better than ReLU at equal parameters, on the Llama model?",
    "llama": "How does the Llama recipe train?",
    "vanilla": "How does the first Transformer train?",
    "aa": "Two arms differ only in their random numbers: how large a difference does chance make?",
    "warmup": "Does the gradient norm peak where the warm-up ends?",
}

SETTINGS = """\
EXPERIMENT = "{name}"
CSV_FOLDER = None  # a folder of CSV files saved from the wandb page; None reads exports/"""

LOAD = """\
%matplotlib inline
from pathlib import Path

from IPython.display import display

from lmablate.results.exports import open_experiment
from lmablate.results.plots import gallery, summary

data = open_experiment(EXPERIMENT, Path("exports"), CSV_FOLDER and Path(CSV_FOLDER), Path("../runs"))
summary(data)"""

DRAW = """\
for name, figure in gallery(data):
    print(name)
    display(figure)"""


def make_notebook(name: str, question: str) -> nbformat.NotebookNode:
    """Return the notebook of an experiment, without outputs."""
    title = f"# {name.replace('_', ' ').capitalize()}\n\n{question}\n\n"
    source = f"The runs come from `python -m lmablate.train experiment={name}`, the tables from `lmablate.export`."
    sources = [SETTINGS.format(name=name), LOAD, DRAW]
    cells = [new_markdown_cell(title + source), *map(new_code_cell, sources)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat draws random ids, which would change the file each time
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=kernel)


def main() -> None:
    """Write every notebook that does not exist, or all if asked to."""
    folder = Path(__file__).resolve().parent.parent / "analysis"
    for name, question in QUESTIONS.items():
        path, notebook = folder / f"{name}.ipynb", make_notebook(name, question)
        if not path.exists() or sys.argv[1:] == ["overwrite=true"]:
            nbformat.write(notebook, path)
        elif nbformat.read(path, as_version=4) != notebook:
            print(f"{path} has other cells and is left as it is: add overwrite=true to replace it.")


if __name__ == "__main__":
    main()
