"""A kill, a second process or a full disk changes nothing in the result of a preparation."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from lmablate.data import prepare as preparation
from lmablate.data.corpora import TextFiles
from lmablate.data.prepare import prepare_data
from lmablate.errors import UserError
from tests.data.helpers import STORY, Vocabulary, contents, small_disk

PAGE = 4096


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> TextFiles:
    folder = tmp_path_factory.mktemp("text")
    (folder / "train.txt").write_text("".join(STORY.format(i**3) for i in range(1000)))
    (folder / "valid.txt").write_text("".join(STORY.format(i**2) for i in range(100)))
    return TextFiles(str(folder / "train.txt"), str(folder / "valid.txt"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> dict[str, bytes]:
    """The files of an undisturbed preparation, which also compiles in the parent the code that its forks run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    prepare_data(corpus, Vocabulary(), folder)
    return contents(folder)


def in_a_fork(task: Callable[[], object]) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=task)
    process.start()
    return process


def assert_only_whole_files(folder: Path, whole: dict[str, bytes]) -> None:
    for name, content in contents(folder).items():
        assert name.endswith(".part") or content == whole[name], name


def test_a_kill_at_every_write_barrier_changes_nothing(corpus, whole, tmp_path):
    """The process kills itself just before its k-th flush or rename, for every k up to the last one."""

    def prepare_until(k: int) -> None:
        calls = 0

        def deadly(barrier: Callable) -> Callable:
            def call(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls == k:
                    os.kill(os.getpid(), signal.SIGKILL)
                return barrier(*arguments, **options)

            return call

        os.replace, os.fsync = deadly(os.replace), deadly(os.fsync)
        prepare_data(corpus, Vocabulary(), tmp_path / "data")

    kills = 0
    while kills < 100:
        kills += 1
        killed = in_a_fork(lambda k=kills: prepare_until(k))
        killed.join()
        assert_only_whole_files(tmp_path / "data", whole)
        prepare_data(corpus, Vocabulary(), tmp_path / "data")
        assert contents(tmp_path / "data") == whole
        shutil.rmtree(tmp_path / "data")
        if killed.exitcode == 0:
            break
    assert kills > 20


def kill_at_random(corpus: TextFiles, whole: dict[str, bytes], data_dir: Path, kills: int) -> None:
    """Kill preparations of one folder `kills` times; when one gets through, compare and empty the folder."""
    started = time.perf_counter()
    prepare_data(corpus, Vocabulary(), data_dir)
    duration = time.perf_counter() - started
    shutil.rmtree(data_dir)
    draw = random.Random(0)
    while kills:
        process = in_a_fork(lambda: prepare_data(corpus, Vocabulary(), data_dir))
        process.join(draw.uniform(0, duration))
        process.kill()
        process.join()
        kills -= process.exitcode == -signal.SIGKILL
        if data_dir.exists():
            assert_only_whole_files(data_dir, whole)
        if process.exitcode == 0:
            assert contents(data_dir) == whole
            shutil.rmtree(data_dir)
    prepare_data(corpus, Vocabulary(), data_dir)
    assert contents(data_dir) == whole


def test_kills_at_random_instants_change_nothing(corpus, whole, tmp_path):
    kill_at_random(corpus, whole, tmp_path / "data", kills=15)


@pytest.mark.faults
def test_very_many_kills_at_random_instants_change_nothing(corpus, whole, tmp_path):
    kill_at_random(corpus, whole, tmp_path / "data", kills=200)


def test_of_several_processes_one_does_the_work(corpus, whole, tmp_path, monkeypatch):
    work = tmp_path / "work"
    train_bpe = preparation.train_bpe

    def noted(*arguments, **options):
        with work.open("a") as file:
            file.write("trained\n")
        return train_bpe(*arguments, **options)

    monkeypatch.setattr(preparation, "train_bpe", noted)
    processes = [in_a_fork(lambda: prepare_data(corpus, Vocabulary(), tmp_path / "data")) for _ in range(4)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert work.read_text() == "trained\n"
    assert contents(tmp_path / "data") == whole


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_ends_in_one_sentence(corpus, whole, tmp_path):
    """The disk is too small by ever fewer pages, so that it gets full in every file that is written."""
    disk = tmp_path / "disk"

    def fill() -> None:
        with pytest.raises(UserError, match=r"(?i)^[^\n]*no space left[^\n]*\.$"):
            prepare_data(corpus, Vocabulary(), disk)

    for size in range(2 * PAGE, sum(map(len, whole.values())), PAGE):
        with small_disk(disk, size):
            process = in_a_fork(fill)  # a write through a memory map would end it by SIGBUS
            process.join(60)
            assert process.exitcode == 0, size
            assert not list(disk.rglob("*.part"))
            assert_only_whole_files(disk, whole)
