"""The progress line is for terminals."""

import contextlib
import os
import sys

from lmablate.training.progress import Progress


def test_a_log_file_gets_no_progress_line(capfd):
    progress = Progress("a-run", 600, 0)
    progress.update(120, 4.812, 18_300.0)
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_step_loss_and_speed(monkeypatch):
    reader, terminal = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        progress = Progress("a-run", 600, 0)
        progress.update(120, 4.812, 18_300.0)
        progress.close()
    # One read returns what one write left, and the last line may come later.
    shown = ""
    with contextlib.suppress(OSError):
        while data := os.read(reader, 100_000):
            shown += data.decode()
    os.close(reader)
    for part in ("a-run", "120/600", "loss 4.812", "18.3k tok/s"):
        assert part in shown
