"""An edited class of the user's own is another run, and what changes no result changes no id.

Each edit is one line of a table: a file of the package, a piece of it, what it becomes, and whether that may change a
result.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = {
    "own/__init__.py": "",
    "own/pos.py": '''"""Positions."""
import math
from functools import partial

from collections import UserDict as Position
from own import tables
from own.base import Shifted, helper as aid
from .more import *
import own.deep.inner

SCALE = 2.0
UNUSED = 3.0
TABLE = {"a": 1}
TABLE["b"] = 2
if math.pi > 3:
    SIGN = 1
else:
    SIGN = -1


def outer(x):
    """Doc."""
    return inner(x) * SCALE


def inner(x):
    return x + 1  # a comment


def unused(x):
    return x


class Mine(Shifted):
    """What it is."""

    width = SIGN

    def bias(self, scores):
        """Return them."""
        from own.late import late

        return outer(scores) + aid(1) + tables.FIRST + TABLE["a"] + late() + starred() + own.deep.inner.DEEP


class Other(Position):
    pass
''',
    "own/base.py": "from collections import UserDict as Position\n\n\nclass Shifted(Position):\n    shift = 1\n\n\n"
    "def helper(x):\n    return x\n\n\ndef idle():\n    return 0\n",
    "own/tables.py": "FIRST = 1\n",
    "own/more.py": "def starred():\n    return 4\n",
    "own/late.py": "def late():\n    return 5\n",
    "own/deep/__init__.py": "",
    "own/deep/inner.py": "DEEP = 6\n",
    "own/elsewhere.py": "X = 1\n",
}

EDITS = [
    ("own/pos.py", "return inner(x) * SCALE", "return inner(x) / SCALE", True),
    ("own/pos.py", "SCALE = 2.0", "SCALE = 2.5", True),
    ("own/pos.py", "return x + 1", "return x + 2", True),
    ("own/pos.py", "SIGN = -1", "SIGN = -2", True),
    ("own/pos.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3', True),
    ("own/pos.py", "width = SIGN", "width = SIGN + 1", True),
    ("own/pos.py", "class Mine(Shifted)", "class Mine(Position)", True),
    ("own/base.py", "shift = 1", "shift = 2", True),
    ("own/base.py", "return x", "return -x", True),
    ("own/tables.py", "FIRST = 1", "FIRST = 2", True),
    ("own/more.py", "return 4", "return 5", True),
    ("own/late.py", "return 5", "return 6", True),
    ("own/deep/inner.py", "DEEP = 6", "DEEP = 7", True),
    ("own/pos.py", "# a comment", "# another comment", False),
    ("own/pos.py", '"""What it is."""', '"""What else it is."""', False),
    ("own/pos.py", '"""Return them."""', "", False),
    ("own/pos.py", '"""Positions."""', '"""More."""', False),
    ("own/pos.py", "return inner(x) * SCALE", "return (inner(x)\n            * SCALE)", False),
    ("own/pos.py", "UNUSED = 3.0", "UNUSED = 4.0", False),
    ("own/pos.py", "def unused(x):\n    return x", "def unused(x):\n    return 2 * x", False),
    ("own/pos.py", "class Other(Position):\n    pass", "class Other(Position):\n    x = 1", False),
    ("own/base.py", "return 0", "return 1", False),
    ("own/elsewhere.py", "X = 1", "X = 2", False),
]
SCRIPT = (
    "from lmablate.config.sources import class_fingerprints; "
    "print(class_fingerprints({'model': {'pos': {'_target_': 'own.pos.Mine'}}})['own.pos.Mine'])"
)


def fingerprint(folder: Path) -> str:
    """Return the fingerprint as a new process sees it."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, env={"LMABLATE_TRUST": "own", "PATH": ""}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def write_package(folder: Path) -> None:
    for name, text in PACKAGE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("original")
    write_package(folder)
    return fingerprint(folder)


@pytest.mark.parametrize(("file", "old", "new", "counts"), EDITS, ids=[f"{edit[0]}: {edit[2]}" for edit in EDITS])
def test_an_edit_that_may_change_a_result_changes_the_fingerprint(
    original: str, tmp_path: Path, file: str, old: str, new: str, counts: bool
) -> None:
    write_package(tmp_path)
    text = PACKAGE[file]
    assert text.count(old) == 1
    (tmp_path / file).write_text(text.replace(old, new))
    assert (fingerprint(tmp_path) != original) == counts


def test_a_class_that_another_module_defines_is_found_through_an_import(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "own" / "__init__.py").write_text("from own.pos import Mine\n")
    script = SCRIPT.replace("own.pos.Mine", "own.Mine")
    prints = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env={"LMABLATE_TRUST": "own"}, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert prints[0] == prints[1] != ""
    assert prints[0].strip() == fingerprint(tmp_path)


# An edit while a process lives, as in a notebook: what is edited, whether it is reloaded, and what follows.
LIVE = [
    ("own/pos.py", "return inner(x) * SCALE", "return inner(x) / SCALE", "", "own.pos.outer has been edited"),
    ("own/pos.py", "+ tables.FIRST", "- tables.FIRST", "", "own.pos.Mine has been edited"),
    ("own/base.py", "return x", "return -x", "", "own.base.helper has been edited"),
    ("own/pos.py", "return x + 1  # a comment", "return x + 1", "", "same"),
    ("own/pos.py", "SCALE = 2.0", "\n\n\nSCALE = 2.0", "", "same"),
    ("own/pos.py", "return inner(x) * SCALE", "return inner(x) / SCALE", "own.pos", "other"),
]
LIVE_SCRIPT = """
import importlib, pathlib, sys
from lmablate.config.sources import class_fingerprints
from lmablate.errors import UserError
file, old, new, reloaded = sys.argv[1:]
config = {"model": {"pos": {"_target_": "own.pos.Mine"}}}
before = class_fingerprints(config)
path = pathlib.Path(file)
path.write_text(path.read_text().replace(old, new))
if reloaded:
    importlib.invalidate_caches()
    importlib.reload(sys.modules[reloaded])
try:
    print("same" if class_fingerprints(config) == before else "other")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("file", "old", "new", "reloaded", "words"), LIVE)
def test_a_process_never_names_code_that_it_does_not_run(
    tmp_path: Path, file: str, old: str, new: str, reloaded: str, words: str
) -> None:
    write_package(tmp_path)
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIVE_SCRIPT, file, old, new, reloaded], cwd=tmp_path, capture_output=True,
        text=True, check=False, env={"LMABLATE_TRUST": "own", "PATH": ""},
    )  # fmt: skip
    assert done.stdout.startswith(words), done.stdout + done.stderr
