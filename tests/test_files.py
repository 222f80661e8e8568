"""Files are whole or absent, and a lock ends with its holder, with flock and without."""

import errno
import multiprocessing
import os
import threading
import time

import pytest

from lmablate.errors import UserError
from lmablate.files import atomic_write, disk_errors_named, locked, read_json, sha256, write_json


def test_a_block_that_ends_well_replaces_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as part:
        print(part.write_text("half") / 0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "data_dir=/d has no space left"),
        (errno.EDQUOT, "data_dir=/d has no space left"),
        (errno.EROFS, "data_dir=/d cannot be written to"),
    ],
)
def test_disk_errors_become_sentences(number, sentence):
    with pytest.raises(UserError, match=sentence), disk_errors_named("data_dir", "/d"):
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are():
    with pytest.raises(OSError, match="Input/output"), disk_errors_named("data_dir", "/d"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def add_one(path, times):
    for _ in range(times):
        with locked(path / ".lock"):
            count = int((path / "count").read_text())
            time.sleep(0.002)
            (path / "count").write_text(str(count + 1))


def hold_until_killed(path, held):
    with locked(path / ".lock"):
        held.set()
        time.sleep(600)


@pytest.mark.usefixtures("file_system")
def test_no_update_is_lost_between_processes(tmp_path):
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_one, args=(tmp_path, 10)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "30"


@pytest.mark.usefixtures("file_system")
def test_a_killed_holder_does_not_block(tmp_path):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=hold_until_killed, args=(tmp_path, held))
    holder.start()
    assert held.wait(30)
    holder.kill()
    holder.join()
    with locked(tmp_path / ".lock"):
        pass


@pytest.mark.usefixtures("file_system")
def test_a_waiting_process_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=hold_until_killed, args=(tmp_path, held))
    holder.start()
    assert held.wait(30)
    threading.Timer(0.5, holder.kill).start()
    with locked(tmp_path / ".lock"):
        assert "another process is at work in" in caplog.text


def test_json_comes_back_as_it_was_written(tmp_path):
    write_json(tmp_path / "file.json", {"b": [1, 0.1], "a": None})
    assert read_json(tmp_path / "file.json") == {"b": [1, 0.1], "a": None}
    assert list(tmp_path.iterdir()) == [tmp_path / "file.json"]


def test_a_json_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lmablate.files.records.JSON_LIMIT", 10)
    (tmp_path / "file.json").write_text('"0123456789"')
    with pytest.raises(ValueError, match="is larger than 10 bytes"):
        read_json(tmp_path / "file.json")


def test_a_checksum_is_that_of_the_content(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_not_replaced_by_a_file_even_through_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "link"):
        with pytest.raises(IsADirectoryError), atomic_write(tmp_path / name) as part:
            part.write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]


@pytest.mark.parametrize(
    ("number", "path", "folder", "named"),
    [
        (errno.ENOENT, "/proc/nope", "/proc/nope", True),
        (errno.ENOENT, "/proc/nope", "/proc/nope/runs", True),
        (errno.ENAMETOOLONG, "/d/" + "n" * 300, "/d", True),
        (errno.EISDIR, "/d/run.json", "/d", True),
        (errno.ENOENT, "/somewhere/else.txt", "/d", False),
        (errno.ENOENT, None, "/d", False),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_its_key(number, path, folder, named):
    with pytest.raises(UserError if named else OSError) as error, disk_errors_named("data_dir", folder):
        raise OSError(number, os.strerror(number), path)
    assert isinstance(error.value, UserError) == named
    assert not named or str(error.value).startswith(f"data_dir={folder} cannot be written to: ")
