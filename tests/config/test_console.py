"""Output and endings that all commands share, with real processes, pipes and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmablate.config.console import PLAIN_FORMS
from tests.tiny import ROOT

# Each way by which a process may get an output that has no ±.
NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONUTF8": "0", "LC_ALL": "POSIX", "LANG": "C", "PYTHONCOERCECLOCALE": "0"},
]
PRINT = """
import sys
from lmablate.config.console import command_ending
from lmablate.errors import UserError, print_error
with command_ending():
    print(sys.argv[1])
    print(sys.argv[1], file=sys.stderr)
    raise UserError(sys.argv[1])
"""


def start(code: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}, **env}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize("env", NARROW, ids=str)
@pytest.mark.parametrize("text", ["0.1 ± 0.2 × 3 → “so” … ≤ 5", "größer 日本 🎉", "\udcff lone", "e\u0301\u00a0x"])
def test_a_character_that_the_output_lacks_becomes_plainer(env: dict[str, str], text: str) -> None:
    process = start(PRINT, text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), **env)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert b"Traceback" not in err
    assert out.strip()
    assert b"lmablate: " in err


def test_the_plain_forms_are_plain() -> None:
    assert all(form.isascii() for form in PLAIN_FORMS.values())
    process = start(PRINT, "0.1 ± 0.2 × 3 → 4 日", PYTHONIOENCODING="ascii")
    assert process.communicate(timeout=60)[0].decode() == "0.1 +- 0.2 x 3 -> 4 ?\n"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("train", ["--help"]),
        ("report", ["--help"]),
        ("status", ["--help"]),
        ("train", ["--cfg", "job"]),
        ("status", ["."]),
    ],
)
def test_a_closed_pipe_ends_a_command_quietly(program: str, arguments: list[str]) -> None:
    code = (
        f"import runpy, sys; sys.argv[1:] = {arguments!r}; runpy.run_module('lmablate.{program}', run_name='__main__')"
    )
    process = start(code)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    err = process.stderr.read()
    process.wait(60)
    assert process.returncode == 141, err
    assert err == b""


SLEEP = """
import sys, time
from lmablate.config.console import command_ending
with command_ending():
    print("ready", flush=True)
    time.sleep(60)
"""


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    process = start(SLEEP)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"lmablate: interrupted.\n"
