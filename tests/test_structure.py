"""The shape of the package: what stands at its top, which way imports go, and how large things may grow.

`import_graph` is also what the diagram in docs/architecture.md is checked against.
"""

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lmablate"
COMMANDS = {
    "audit", "clean", "decide", "effects", "evaluate", "export", "export_hf", "figures", "generate", "judge",
    "lr_sweep", "new", "plan", "prepare", "report", "status", "train", "tune",
}  # fmt: skip
LEAVES = {"errors", "files", "machine"}
# What notebooks, scripts and the tests of a project import.
LIBRARY = {"api", "testing"}
WITH_TORCH = {"audit", "train", *LIBRARY}
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LAYERS, MAX_EDGES = 8, 70
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_COMMAND_LINES = 400, 60, 90


def unit_of(path: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules, and of the names in them, that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def import_graph() -> dict[str, set[str]]:
    """Top-level module or package -> those that it imports."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        unit = unit_of(path)
        used = {name.split(".")[1] for name in imported(path) if name.startswith("lmablate.")}
        graph.setdefault(unit, set()).update(used - {unit})
    del graph["__init__"], graph["__main__"]
    return graph


@cache
def layers() -> list[set[str]]:
    """The graph from the bottom: a layer imports only from those below it. Raises CycleError for a cycle."""
    sorter = TopologicalSorter(import_graph())
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append(set(ready))
        sorter.done(*ready)
    return found


def layer_of(unit: str) -> int:
    return next(i for i, layer in enumerate(layers()) if unit in layer)


def test_the_top_holds_commands_packages_and_a_few_leaves() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert modules == (COMMANDS | LEAVES | LIBRARY) - packages


def test_imports_go_one_way_in_few_layers() -> None:
    assert len(layers()) <= MAX_LAYERS
    assert sum(len(used) for unit, used in import_graph().items() if unit not in COMMANDS) <= MAX_EDGES


def test_nothing_imports_a_command() -> None:
    assert not {unit: used & COMMANDS for unit, used in import_graph().items() if used & COMMANDS}


def test_leaves_import_only_leaves() -> None:
    assert not {leaf: import_graph()[leaf] - LEAVES for leaf in LEAVES if import_graph()[leaf] - LEAVES}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("hydra", {"config", "sweep"}),
        ("wandb", {"training", "results"}),
        ("submitit", {"training", "referee"}),
        ("torch", {"model", "data", "diagnostics", "training", "config", "sweep", "inference", "machine", *WITH_TORCH}),
        ("matplotlib", {"results", "api"}),
        ("scipy", {"evidence"}),
    ],
)  # fmt: skip
def test_a_library_is_known_to_few(library: str, allowed: set[str]) -> None:
    users = {unit_of(path) for path in MODULES for name in imported(path) if name.split(".")[0] == library}
    assert users <= allowed


def test_no_module_is_called_like_one_of_the_standard_library() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")} | {path.name for path in PACKAGE.rglob("*") if path.is_dir()}
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_can_be_read_aloud(name: str) -> None:
    assert len((PACKAGE / f"{name}.py").read_text().splitlines()) <= MAX_COMMAND_LINES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    kernels = {"kernel", "step", "inline", "intrinsic"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES or decorators & kernels, f"{node.name} has {length} lines"


def public_definitions(path: Path) -> list[str]:
    """Names of the public functions and classes that a file defines at its top level."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text()).body
    return [node.name for node in body if isinstance(node, definitions) and not node.name.startswith("_")]


def test_a_public_name_exists_once() -> None:
    """One name for one thing. Each command has its `Arguments`, and a function of its own name."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for name in public_definitions(path):
            if name != "Arguments" and not (path.parent == PACKAGE and name == path.stem):
                places.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: where for name, where in places.items() if len(where) > 1}


def full_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def used_elsewhere() -> set[tuple[str, str]]:
    """(module, name) for every name that a file imports from another module, or reads as its attribute."""
    used = set()
    for folder in ("lmablate", "hydra_plugins", "tests", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            modules = {}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    used |= {(node.module, alias.name) for alias in node.names}
                    modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                    used.add((modules[node.value.id], node.attr))
    return used


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_function_that_only_its_module_uses_is_private(path: Path) -> None:
    if path.parent == PACKAGE or path.name == "__init__.py":
        return
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    alone = [f for f in functions if not f.startswith("_") and (full_name(path), f) not in used_elsewhere()]
    assert not alone


def test_no_module_uses_a_private_function_of_another() -> None:
    ours = {(module, name) for module, name in used_elsewhere() if module.startswith("lmablate")}
    private = {(module, name) for module, name in ours if name.startswith("_") and not name.startswith("__")}
    assert not private


def test_a_class_is_named_in_one_way_in_all_configs() -> None:
    """Run ids hash `_target_` strings, so two spellings of one class would be two ids of the same run."""
    spellings: dict[str, set[str]] = {}
    for path in (ROOT / "conf").rglob("*.yaml"):
        for target in re.findall(r"_target_: ([\w.]+)", path.read_text()):
            spellings.setdefault(target.rsplit(".", 1)[-1], set()).add(target)
    assert not {name: found for name, found in spellings.items() if len(found) > 1}


def test_the_packages_explain_themselves() -> None:
    """Each package's docstring says what it is for, and names every module in it."""
    for folder in [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))]:
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        children = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
        if folder in (PACKAGE, PACKAGE / "diagnostics"):  # commands and probes are listed in the README and in conf/
            continue
        missing = [name for name in sorted(children - {"__init__"}) if not re.search(rf"\b{name}\b", docstring)]
        assert not missing, f"{folder.name}/__init__.py does not mention {missing}"
