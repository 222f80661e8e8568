"""A supervisor: a bounded log, one execution whatever happens, and a fresh folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmablate.referee.supervise import BoundedLog, supervise
from tests.tiny import ROOT


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1001])
@pytest.mark.parametrize("pieces", [[], [b"x"], [b"0123456789"] * 50, [b"a" * 3000, b"b", b"c" * 999]])
def test_a_log_keeps_its_first_and_its_last_half(limit: int, pieces: list[bytes], tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log", limit)
    for piece in pieces:
        log.write(piece)
    log.close()
    text, whole = (tmp_path / "log").read_bytes(), b"".join(pieces)
    if len(whole) <= limit:
        assert text == whole
        assert not log.left_out
        return
    first, last = limit - limit // 2, limit // 2
    mark = b"\n[... %d bytes are left out ...]\n" % (len(whole) - limit)
    assert text == whole[:first] + mark + whole[len(whole) - last :]
    assert log.left_out == len(whole) - limit
    assert log.printed == len(whole)


def write_run(folder: Path, script: str) -> Path:
    run = folder / "run"
    (run / "work").mkdir(parents=True)
    (run / "work" / "left by an attempt").touch()
    source = folder / "source"
    source.mkdir()
    (source / "data.txt").write_text("hello")
    (source / "own.txt").write_text("not to be seen")
    spec = {"words": ["sh", "-c", script], "source": str(source), "own": ["own.txt"], "limit_s": 60, "log_bytes": 1000}
    (run / "command.json").write_text(json.dumps(spec))
    return run


def test_a_run_sees_the_folder_of_its_user_but_not_what_is_its_own(tmp_path: Path) -> None:
    run = write_run(tmp_path, "ls; cat data.txt; echo new > own.txt")
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lmablate.referee.supervise import supervise; "
    subprocess.run([sys.executable, "-c", f"{program}supervise({str(run)!r})"], check=True)
    assert (run / "log.txt").read_text() == "data.txt\nhello"
    assert json.loads((run / "result.json").read_text())["state"] == "done"
    assert (run / "work" / "own.txt").read_text() == "new\n"
    assert (tmp_path / "source" / "own.txt").read_text() == "not to be seen"


def test_two_supervisors_of_one_run_execute_it_once(tmp_path: Path) -> None:
    run = write_run(tmp_path, f"echo x >> {tmp_path}/count; sleep 0.5")
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lmablate.referee.supervise import supervise; "
    both = [subprocess.Popen([sys.executable, "-c", f"{program}supervise({str(run)!r})"]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "x\n"


def test_a_run_with_a_result_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("lmablate.referee.supervise._adopt_orphans", lambda: None)
    run = write_run(tmp_path, "echo again")
    (run / "result.json").write_text("{}")
    supervise(str(run))
    assert not (run / "log.txt").exists()
