"""Measure where the CPU seconds of a sweep go, and how many of them its matrix products alone would take.

    python scripts/bench_sweep.py                                     the sweep of `make ablation`, some 10 minutes
    python scripts/bench_sweep.py sweep="arch=llama seed=0,1" against=/tmp/other/checkout

The end-to-end S is the time of the products of all training steps over that of everything, from the command's start
to its end, all processes together: 1 is the limit. Beside it stands a plain script in nanoGPT's style, one process per
run, which trains and evaluates a model of the same cost; and the same command in another checkout, if one is given.
Rounds alternate, and ratios are taken within a round.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from bench_train import Case, Plain, products, quartiles, torch_step
from machine import describe

from lmablate.config.build import build, resolve_config
from lmablate.config.key_value import run_key_value_command as command
from lmablate.data.prepare import prepare_data
from lmablate.data.tokens import Batches, EvalBatches, open_tokens, windows
from lmablate.machine import keep_freed_memory
from lmablate.model.size import Shape
from lmablate.sweep.jobs import Job, expand_sweep


@dataclass
class Arguments:
    """Time a sweep, its products alone, and the same number of runs by a plain script."""

    sweep: Annotated[str, "overrides of lmablate.train"] = "experiment=positional_encoding scale=short seed=0,1"
    rounds: Annotated[int, "repetitions of everything"] = 1
    data: Annotated[str, "folder of the prepared data"] = "data"
    against: Annotated[str, "another checkout, whose lmablate runs the same command"] = ""
    worker: Annotated[str, "for the script itself"] = ""


@dataclass(frozen=True)
class Plan:
    """What a plain script needs to know of a run: its size, its length and its data."""

    case: Case
    steps: int
    eval_every: int
    eval_batches: int
    tokens: str
    valid: str


def plan_of(job: Job, data: str) -> Plan:
    from lmablate.config.build import model_shape

    cfg = resolve_config(job.cfg)
    shape: Shape = model_shape(cfg)
    prepared = prepare_data(build(cfg.data), cfg.tokenizer, data, verify=False)
    sizes = dict(vocab=shape.vocab_size, d=shape.d_model, d_ff=shape.d_ff, context=shape.context_length)
    case = Case(cfg.train.batch_size, layers=shape.n_layers, heads=shape.n_heads, matrices=shape.mlp_matrices, **sizes)
    train = cfg.train
    paths = (str(prepared.train.path), str(prepared.valid.path))
    return Plan(case, train.max_steps, train.eval_every, train.eval_batches, *paths)


def plain(plan: Plan) -> None:
    """Train and evaluate nanoGPT's design: what a script of a hundred lines does."""
    keep_freed_memory()
    torch.set_num_threads(1)
    case, ids = plan.case, open_tokens(plan.tokens).array
    batches = Batches(ids, case.context, case.rows, seed=0)
    evaluations = EvalBatches(ids, case.context, case.rows, plan.eval_batches)
    tokens, targets = (torch.empty_like(x) for x in batches.batch(0))
    model = Plain(case)
    step = torch_step(model, lambda: model(tokens, targets))
    for number in range(plan.steps):
        if number % plan.eval_every == 0:
            with torch.no_grad():
                print(number, statistics.mean(model(*batch).item() for batch in evaluations))
        for buffer, values in zip((tokens, targets), batches.batch(number), strict=True):
            buffer.copy_(values)
        step()
    with torch.no_grad():  # the whole validation file at the end, as lmablate does
        rows = windows(open_tokens(plan.valid).array, case.context, case.rows)
        print(statistics.mean(model(*batch).item() for batch in rows))


def parts(overrides: list[str]) -> None:
    """Train one run, and print the CPU seconds of its parts as a JSON object."""
    from lmablate.train import train
    from lmablate.training import journal, tracking, trainer

    seconds: defaultdict[str, float] = defaultdict(float)
    running = ["start-up"]
    last = [0.0]  # process_time counts from the start of the process, imports included

    def timed(owner: Any, name: str, part: str) -> None:
        function: Callable = getattr(owner, name)

        def switch(to: str) -> str:
            now, previous = time.process_time(), running[0]
            seconds[previous] += now - last[0]
            last[0], running[0] = now, to
            return previous

        def wrapper(*arguments: Any, **options: Any) -> Any:
            previous = switch(part)
            try:
                return function(*arguments, **options)
            finally:
                switch(previous)

        setattr(owner, name, wrapper)

    timed(trainer.Trainer, "train_one_step", "steps")
    timed(trainer, "_mean_losses", "evaluation")
    for name in ("probe_step", "probe_evaluation"):
        timed(trainer, name, "probes")
    timed(trainer, "save_checkpoint", "checkpoints")
    timed(journal.Journal, "flush", "tables")
    for name in ("start", "log", "finish"):
        timed(tracking.Wandb, name, "tracking")
    train(expand_sweep(overrides).jobs[0].cfg)
    seconds[running[0]] += time.process_time() - last[0]
    print(json.dumps(seconds))


def cpu_seconds(arguments: list[str], cwd: str | None = None) -> tuple[float, float, str]:
    """Return CPU and wall seconds of a command and of all that it starts, and what it prints."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": cwd or str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started, done.stdout


def sweep_seconds(arguments: Arguments, checkout: str | None) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as runs:
        folders = [f"data_dir={Path(arguments.data).absolute()}", f"runs_dir={runs}"]
        return cpu_seconds(["-m", "lmablate.train", *arguments.sweep.split(), *folders], cwd=checkout)[:2]


def product_seconds(plans: list[Plan]) -> float:
    """CPU seconds of the products of all training steps of all runs."""
    torch.set_num_threads(1)
    tokens = torch.empty(plans[0].case.rows, plans[0].case.context)
    steps = {plan.case: products(plan.case, tokens, tokens) for plan in plans}
    seconds: dict[Case, list[float]] = {case: [] for case in steps}
    for _ in range(50):
        for case, step in steps.items():
            started = time.process_time()
            step()
            seconds[case].append(time.process_time() - started)
    return sum(plan.steps * statistics.median(seconds[plan.case]) for plan in plans)


def main(arguments: Arguments) -> None:
    if arguments.worker:
        kind, _, value = arguments.worker.partition(":")
        given = json.loads(value)
        return parts(given) if kind == "parts" else plain(Plan(Case(**given.pop("case")), **given))
    keep_freed_memory()
    jobs = expand_sweep(arguments.sweep.split()).jobs
    plans = [plan_of(job, arguments.data) for job in jobs]
    print(f"{describe()}, torch {torch.__version__}\n{arguments.sweep}: {len(jobs)} runs", flush=True)
    contestants: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        ideal = [product_seconds(plans)]
        script = json.dumps(asdict(plans[0]))
        measured = {
            "this checkout": sweep_seconds(arguments, None),
            "a plain script": [len(jobs) * x for x in cpu_seconds([__file__, f"worker=plain:{script}"])[:2]],
        }
        if arguments.against:
            measured["the other checkout"] = sweep_seconds(arguments, arguments.against)
        ideal.append(product_seconds(plans))
        for name, (cpu, wall) in measured.items():
            contestants.setdefault(name, []).append(cpu)
            runs = 3600 * len(jobs) / cpu
            share = statistics.mean(ideal) / cpu
            print(f"{name:<20} {cpu:7.1f} CPU s {wall:7.1f} s  S {share:.2f}  {runs:5.1f} runs per core-hour")
    for name, seconds in contestants.items():
        ratios = [other / own for other, own in zip(seconds, contestants["this checkout"], strict=True)]
        print(f"{name} / this checkout: {quartiles(ratios)}")
    with tempfile.TemporaryDirectory() as runs:
        folders = [f"data_dir={Path(arguments.data).absolute()}", f"runs_dir={runs}"]
        job = json.dumps([*jobs[0].overrides, *folders])
        split = json.loads(cpu_seconds([__file__, f"worker=parts:{job}"])[2].splitlines()[-1])
    print("CPU seconds of the first run in a process of its own:")
    print(", ".join(f"{part} {value:.1f}" for part, value in split.items()))


if __name__ == "__main__":
    command("scripts.bench_sweep", Arguments, main)
