"""A stand-in for training: counts steps, checkpoints each, resumes, and goes wrong on demand."""

import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread, active_count
from typing import Any

import hydra
from omegaconf import DictConfig

from lmablate.runs.stop_signal import StopFlag


def rank() -> int:
    return int(os.environ.get("SLURM_PROCID", 0))


def wait_for_result_of(other: int) -> None:
    """Wait until another rank has failed; its process ends only later, and with it all others."""
    import submitit

    own = submitit.JobEnvironment().paths.result_pickle
    result = own.with_name(own.name.replace(f"_{rank()}_result", f"_{other}_result"))
    deadline = time.monotonic() + 60
    while not result.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def write_json(path: Path, content: dict) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")  # jobs that differ in go_wrong alone share one folder
    part.write_text(json.dumps(content))
    part.rename(path)


def go_wrong(how: str | None) -> None:
    match how:
        case "raise":
            raise ValueError("it went wrong\non two lines")
        case "raise_on_rank_1" if rank() == 1:
            raise ValueError("it went wrong")
        case "raise_on_rank_0_later":
            if rank() == 0:
                wait_for_result_of(1)
            raise ValueError("it went wrong" if rank() else "a peer was lost")
        case "exit":
            sys.exit(3)
        case "exit_0":
            sys.exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "vanish":
            os._exit(0)


# What a job may leave behind in its process: how, and what another job would see of it.
LITTER: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "environment": (lambda: os.environ.update(OMP_NUM_THREADS="7"), lambda: sorted(os.environ.items())),
    "folder": (lambda: os.chdir("/"), os.getcwd),
    "umask": (lambda: os.umask(0o777), lambda: Path("/proc/self/status").read_text().split("Umask:")[1].split()[0]),
    "search path": (lambda: sys.path.insert(0, "/nowhere"), lambda: list(sys.path)),
    "arguments": (lambda: sys.argv.append("more"), lambda: list(sys.argv)),
    "module": (lambda: sys.modules.update(litter=sys), lambda: "litter" in sys.modules),
    "patch": (lambda: setattr(json, "litter", 1), lambda: hasattr(json, "litter")),
    "signal": (lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda: str(signal.getsignal(signal.SIGUSR1))),
    "random": (lambda: random.seed(1), lambda: random.getstate()[1] == random.Random(1).getstate()[1]),
    "log level": (lambda: logging.getLogger().setLevel(logging.ERROR), lambda: logging.getLogger().level),
    "limit": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "thread": (lambda: Thread(target=time.sleep, args=(60,), daemon=True).start(), active_count),
    "standard output": (lambda: setattr(sys, "stdout", sys.stderr), lambda: sys.stdout is sys.__stdout__),
    "priority": (lambda: os.nice(1), lambda: os.nice(0)),
    "memory": (lambda: setattr(sys, "leak", bytearray(1 << 20)), lambda: hasattr(sys, "leak")),
}


def fit(steps: int, seconds_per_step: float, folder: Path) -> None:
    checkpoint = folder / "checkpoint.json"
    step = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    with StopFlag() as stop:
        while step < steps:
            time.sleep(seconds_per_step)
            step += 1
            with (folder / "steps.txt").open("a") as file:
                file.write(f"{step}\n")
            write_json(checkpoint, {"step": step})
            if stop.requested:
                write_json(folder / "status.json", {"state": "preempted", "step": step})
                stop.exit_after_signal()


@hydra.main(config_path=None, version_base="1.3")
def main(cfg: DictConfig) -> float:
    folder = Path(cfg.folder) / str(cfg.name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{rank()} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
    print(f"a line from {cfg.name}", flush=True)
    if rank() == 0:
        write_json(folder / "status.json", {"state": "running"})
    if kind := cfg.get("litter"):
        with (folder / "traces.txt").open("a") as file:
            file.write(json.dumps({name: trace() for name, (_, trace) in LITTER.items()}) + "\n")
        LITTER[kind][0]()
    go_wrong(cfg.get("go_wrong"))
    own = folder if rank() == 0 else folder / f"rank_{rank()}"  # the ranks of a run last equally long
    own.mkdir(exist_ok=True)
    fit(cfg.get("steps", 1), cfg.get("seconds_per_step", 0.01), own)
    write_json(own / "status.json", {"state": "done"})
    return 1.0


if __name__ == "__main__":
    main()
