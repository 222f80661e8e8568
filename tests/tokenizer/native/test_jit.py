"""The cache of machine code is never stale, is where the user wants it, and is not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "lmablate"
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
def copy(tmp_path: Path) -> Path:
    """A tree with a copy of the tokenizer and of what it imports, whose sources may be edited."""
    (tmp_path / "lmablate").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(PACKAGE / name, tmp_path / "lmablate")
    for name in ("files", "tokenizer"):
        shutil.copytree(PACKAGE / name, tmp_path / "lmablate" / name)
    return tmp_path


def cache_folder(root: Path, **environment: str) -> str:
    code = "from lmablate.tokenizer.native.jit import CACHE_FOLDER; print(CACHE_FOLDER)"
    return run(code, root, **environment).stdout.strip()


def test_the_cache_is_where_the_user_wants_it(copy: Path, tmp_path: Path) -> None:
    chosen = cache_folder(copy, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert chosen.startswith(str(tmp_path / "numba"))
    chosen = cache_folder(copy, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "xdg"))
    assert chosen.startswith(str(tmp_path / "xdg" / "lmablate"))


def test_an_edit_of_any_source_changes_the_folder(copy: Path, tmp_path: Path) -> None:
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    folders = [cache_folder(copy, **place)]
    assert cache_folder(copy, **place) == folders[0]
    for source in ("encode.py", "split/unicode_classes.py", "learn/merge.py", "native/pairtable.py"):
        with (copy / "lmablate" / "tokenizer" / source).open("a") as file:
            file.write("# edited\n")
        folders.append(cache_folder(copy, **place))
    assert len(set(folders)) == len(folders)


def test_the_scalar_kernel_has_a_folder_of_its_own(copy: Path, tmp_path: Path) -> None:
    chosen = cache_folder(copy, LMABLATE_SCALAR="1", NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert chosen.endswith("-scalar")


def test_a_place_that_cannot_be_written_means_no_cache(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    assert cache_folder(copy, NUMBA_CACHE_DIR=str(tmp_path / "a file")) == "None"


@pytest.mark.slow
def test_an_edit_of_a_helper_in_another_file_takes_effect_and_compiling_is_announced_once(
    copy: Path, tmp_path: Path
) -> None:
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    first = run(SPLIT, copy, **place)
    assert "Compiling the tokenizer's encoding kernels" in first.stderr
    assert first.stdout == run(SPLIT, copy, **place).stdout
    assert run(SPLIT, copy, **place).stderr == ""
    source = copy / "lmablate" / "tokenizer" / "apply_merges.py"
    line = "merged[ranks[best]]"
    source.write_text(source.read_text().replace(line, line + " - 1"))
    assert run(SPLIT, copy, **place).stdout == first.stdout.replace("256", "255")


@pytest.mark.slow
def test_the_scalar_kernel_gives_the_same_ids_without_a_vector_unit(copy: Path, tmp_path: Path) -> None:
    place = {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    assert run(SPLIT, copy, LMABLATE_SCALAR="1", **place).stdout == run(SPLIT, copy, **place).stdout
