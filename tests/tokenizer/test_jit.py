"""The cache of machine code: never stale, never in the way, and not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lmablate"
SPLIT = """
from lmablate.tokenizer import Tokenizer
print(Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")]).encode("ab 'll ab"))
"""


def run(code: str, root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,  # python -c looks there first
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def copy(tmp_path) -> Path:
    """A tree with a copy of the tokenizer alone, whose sources may be edited."""
    (tmp_path / "lmablate").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(PACKAGE / name, tmp_path / "lmablate")
    shutil.copytree(PACKAGE / "tokenizer", tmp_path / "lmablate" / "tokenizer")
    return tmp_path


def cache_folder(root: Path, **environment: str) -> str:
    code = "from lmablate.tokenizer.jit import CACHE_FOLDER; print(CACHE_FOLDER)"
    return run(code, root, **environment).stdout.strip()


def test_the_cache_is_where_the_user_wants_it(copy, tmp_path):
    chosen = cache_folder(copy, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert chosen.startswith(str(tmp_path / "numba"))
    chosen = cache_folder(copy, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "xdg"))
    assert chosen.startswith(str(tmp_path / "xdg" / "lmablate"))


def test_any_edit_changes_the_folder_and_so_does_the_kernel_in_use(copy, tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    before = cache_folder(copy, **place)
    assert cache_folder(copy, **place) == before
    assert cache_folder(copy, LMABLATE_SCALAR="1", **place).endswith("-scalar")
    with (copy / "lmablate" / "tokenizer" / "unicode_classes.py").open("a") as file:
        file.write("# edited\n")
    assert cache_folder(copy, **place) != before


def test_a_place_that_cannot_be_written_means_no_cache(copy, tmp_path):
    (tmp_path / "a file").touch()
    assert cache_folder(copy, NUMBA_CACHE_DIR=str(tmp_path / "a file")) == "None"


@pytest.mark.slow
def test_an_edit_of_a_helper_in_another_file_takes_effect_and_compiling_is_announced_once(copy, tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    first = run(SPLIT, copy, **place)
    assert "Compiling the tokenizer's encoding kernels" in first.stderr
    assert first.stdout == run(SPLIT, copy, **place).stdout
    assert run(SPLIT, copy, **place).stderr == ""
    source = copy / "lmablate" / "tokenizer" / "encode.py"
    line = "rules.merged[ranks[best]]"
    source.write_text(source.read_text().replace(line, line + " - 1"))
    assert run(SPLIT, copy, **place).stdout == first.stdout.replace("256", "255")


@pytest.mark.slow
def test_the_scalar_kernel_serves_where_there_is_no_vector_unit(copy, tmp_path):
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    assert run(SPLIT, copy, LMABLATE_SCALAR="1", **place).stdout == run(SPLIT, copy, **place).stdout
