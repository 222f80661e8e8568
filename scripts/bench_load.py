"""Measure how the commands grow with the number of runs: `python scripts/bench_load.py [RUNS ...]`.

Makes folders of runs with 1,000 rows of metrics each, and prints the seconds, the CPU seconds and the peak memory of
status, export, figures and report. On a busy machine the seconds grow, but the CPU seconds hardly do.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lmablate.runs.metrics import dump_row
from lmablate.runs.run import run_id

ROWS = 1000
# The arms: options of model/pos, and their classes.
OPTIONS = {"rope": "RoPE", "sin": "Sinusoidal", "learned": "Learned", "nope": "NoPE"}


def make_config(seed: int, pos: str) -> dict:
    """Return the part of a config that counts for a run's identity."""
    classes = {"norm": "PreNorm", "pos": OPTIONS[pos], "act": "SwiGLU", "tying": "TiedHead", "init": "Scaled"}
    model = {group: {"_target_": f"lmablate.model.{name}"} for group, name in classes.items()}
    return {
        "seed": seed,
        "model": {"d_model": 64, "d_ff": 256, "context_length": 128, **model},
        "optim": {"lr": 3e-3, "warmup_steps": 100},
        "train": {"max_steps": ROWS - 1, "batch_size": 16},
    }


def metrics_file(seed: int) -> bytes:
    """Return a metrics.jsonl with rows of six to eight numbers, as a training run writes them."""
    draw = random.Random(seed)
    rows = []
    for step in range(ROWS):
        row = {"step": step, "train/loss": 9.2 / (1 + step / 100) + draw.random(), "grad_norm": draw.random()}
        row |= {"lr": 3e-3 * draw.random(), "tokens": step * 2048, "tokens_per_s": 3000 * draw.random()}
        if step % 50 == 0 or step == ROWS - 1:
            row |= {"val/loss": row["train/loss"] + 0.05, "val/bpb": row["train/loss"] / 2.1}
        rows.append(dump_row(row))
    return "".join(rows).encode()


def make_runs(runs_dir: Path, count: int) -> None:
    """Make `count` runs over four arms of an experiment that claims use; readers cannot tell them from real ones."""
    samples = [metrics_file(seed) for seed in range(8)]
    for number in range(count):
        pos, seed = list(OPTIONS)[number % 4], number // 4
        identity = {"config": make_config(seed, pos), "data_fingerprint": "f00d", "code_version": 1}
        name = run_id(identity, f"prenorm-{OPTIONS[pos].lower()}-swiglu-tiedhead-scaled-s{seed}")
        folder = runs_dir / name
        (folder / "experiments").mkdir(parents=True)
        facts = {"id": name, "identity": identity, "parameters": 400_000, "flops_per_token": 2_700_000, "tokens": 2**21}
        status = {"state": "done", "heartbeat": time.time(), "step": ROWS - 1, "max_steps": ROWS - 1, "val/loss": 3.0}
        (folder / "run.json").write_text(json.dumps(facts))
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "experiments" / "positional_encoding").write_text(json.dumps({"model/pos": pos}))
        (folder / "metrics.jsonl").write_bytes(samples[number % 8])


def measure(name: str, *arguments: str) -> None:
    """Run a command, and print its time and memory."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    seconds, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
    print(
        f"  {name:<8}{seconds:7.1f} s {cpu:7.1f} s CPU {used.ru_maxrss / 1024:7.0f} MiB   exit code {code >> 8}",
        flush=True,
    )


def main(counts: list[int]) -> None:
    """Measure every command with each number of runs, then the planning of a sweep."""
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="load-"))
        try:
            make_runs(folder / "runs", count)
            print(f"{count} runs, {count * ROWS} rows of metrics", flush=True)
            measure("status", "lmablate.status", str(folder / "runs"))
            measure("export", "lmablate.export", f"runs_dir={folder / 'runs'}", f"out={folder / 'exports'}", "csv=none")
            measure("figures", "lmablate.figures", f"exports={folder / 'exports'}", f"out={folder / 'figures'}")
            report = [f"{key}={folder / key}" for key in ("exports", "figures", "out", "verdicts")]
            measure("report", "lmablate.report", *report)
        finally:
            shutil.rmtree(folder)
    sweep = ["-m", "seed=range(0,125)", "model/pos=rope,sin,learned,nope"]
    plan = "import sys; from lmablate.sweep.jobs import expand_sweep; print(len(expand_sweep(sys.argv[1:]).jobs))"
    measure("plan of 500 jobs", "timeit", "-n1", "-r1", "-s", f"import sys; sys.argv[1:] = {sweep!r}", plan)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [500, 1000, 2000])
