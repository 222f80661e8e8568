"""The process that starts the jobs of the local_parallel launcher. It is started by its path, once for each sweep.

It imports what the jobs need and then forks a process for each of them, so that the jobs share the imports, which take
several seconds, and nothing else: this process itself runs no job, and imports are all that it does.

Requests arrive on standard input: first the module search path and the modules to import, then the jobs. Replies are
lines: `started NUMBER PID`, and `ended NUMBER EXITCODE`, negative after a signal.
"""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from typing import Any


def _main(alive: int) -> int:
    search_path, modules = pickle.load(sys.stdin.buffer)
    replies = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no reply
    sys.path[:] = search_path
    for module in modules:
        with contextlib.suppress(Exception):  # the job imports it again, and reports the error
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # collections in the jobs neither look at these objects nor copy their pages
    job = _fork_jobs(replies)
    if job is None:
        return 0
    threading.Thread(target=_stop_when_the_launcher_dies, args=(alive,), daemon=True).start()
    return _run(*job)


def _fork_jobs(replies: int) -> tuple[Any, ...] | None:
    """Fork a process for each job that arrives. Return the job in its own process, and at the end None in this one."""
    running: dict[int, int] = {}

    def report_ended(*_: Any) -> None:
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            os.write(replies, f"ended {running.pop(pid)} {os.waitstatus_to_exitcode(status)}\n".encode())

    signal.signal(signal.SIGCHLD, report_ended)
    while True:
        try:
            number, log_file, *job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return None
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            os.close(replies)
            _become_a_job(log_file)
            return tuple(job)
        running[pid] = number
        os.write(replies, f"started {number} {pid}\n".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become_a_job(log_file: str) -> None:
    """Give this process a session, an output and an input of its own."""
    os.setsid()
    output = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, replaced in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, replaced)


def _run(payload: bytes, job_id: str, result_file: str) -> int:
    import cloudpickle

    try:
        outcome = ("success", cloudpickle.loads(payload)(job_id))
    except Exception:
        traceback.print_exc()
        outcome = ("error", traceback.format_exc())
    with open(result_file, "wb") as file:
        cloudpickle.dump(outcome, file)
    return 0 if outcome[0] == "success" else 1


def _stop_when_the_launcher_dies(alive: int) -> None:
    # The launcher sends nothing, so this read returns only when its end of the pipe is closed: when it has died.
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_main(alive=int(sys.argv[1])))
