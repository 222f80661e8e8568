"""The best learning rate of every arm: `python -m lmablate.train experiment=NAME +lr_sweep=true`.

Each arm is trained over the scale's grid, under the name NAME_lr. As long as an arm's best rate lies on the edge
of its grid, the grid is widened there, MOST_ROUNDS times at most. What is done is skipped, so that repeating the
command is cheap.
"""

import logging
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.sweeps import Job, Sweep, expected, plan

log = logging.getLogger(__name__)

RATE = "optim.lr"
MOST_ROUNDS = 4
"""Widenings of one arm's grid: twice a factor of ten, on the usual grid of 1, 3, 10."""


def sweep(arguments: list[str]) -> None:
    """Trains round by round, and prints the best rate of each arm. Exits with 1 where a run failed."""
    base = plan(arguments)
    refuse_own_rates(arguments, base)
    grids = dict.fromkeys(base.arms, grid_of(base))
    launch(first_round(arguments, base))
    for _ in range(MOST_ROUNDS):
        added = {arm: rate for arm in grids if (rate := widened(final_losses(base, arm, grids[arm])))}
        if not added:
            break
        for arm, rate in added.items():
            grids[arm] = sorted([*grids[arm], rate])
            launch(one_arm(arguments, base, arm, rate))
    for arm, rates in grids.items():
        losses = final_losses(base, arm, rates)
        best = min(losses, key=losses.__getitem__)
        edge = f", still on the edge after {MOST_ROUNDS} widenings" if widened(losses) else ""
        print(f"{arm}: best {RATE}={best:g}, val/loss {losses[best]:.4f}{edge}")


def refuse_own_rates(arguments: list[str], base: Sweep) -> None:
    if RATE in base.factors or any(argument.startswith(f"{RATE}=") for argument in arguments):
        raise UserError(f"{RATE} is already chosen: leave it to +lr_sweep=true, or leave +lr_sweep=true out.")


def grid_of(base: Sweep) -> list[float]:
    """The rates that the scale starts with, ascending."""
    lrs = OmegaConf.select(base.jobs[0].cfg, "scale.lrs")
    if not lrs:
        raise UserError("scale.lrs is not set: +lr_sweep=true needs a scale with a grid of learning rates.")
    return sorted(float(rate) for rate in str(lrs).split(","))


def first_round(arguments: list[str], base: Sweep) -> list[str]:
    """The command line of all arms over the starting grid."""
    return command_line(arguments, base, grid_of(base), {})


def one_arm(arguments: list[str], base: Sweep, arm: str, rate: float) -> list[str]:
    """The command line of one arm at one more rate, with all seeds."""
    swept = dict(override.split("=", 1) for override in base.arms[arm].overrides)
    return command_line(arguments, base, [rate], {factor: swept[factor] for factor in base.factors})


def command_line(arguments: list[str], base: Sweep, rates: Sequence[float], levels: Mapping[str, str]) -> list[str]:
    """`arguments` at these rates, with these levels in place of the factors that they or the experiment sweep over."""
    said = {argument.split("=", 1)[0] for argument in arguments}
    rest = [argument for argument in arguments if argument.split("=", 1)[0] not in {"-m", "--multirun", *levels}]
    replaced = [f"{factor}={level}" for factor, level in levels.items() if factor in said]
    params = ",".join(f"{factor}:'{level}'" for factor, level in levels.items() if factor not in said)
    of_experiment = [f"hydra.sweeper.params={{{params}}}"] if params else []
    grid = f"{RATE}={','.join(map(typed, rates))}"
    return ["-m", *rest, *replaced, *of_experiment, f"name={base.jobs[0].cfg.name}_lr", grid]


def typed(rate: float) -> str:
    """A rate as one would type it, without the dust of binary fractions."""
    return f"{rate:.12g}"


def launch(command: list[str]) -> None:
    """Runs one sweep in a process of its own. A failed run is told of by the sweep, and judged by its status."""
    log.info("python -m lmablate.train %s", " ".join(command))
    code = subprocess.run([sys.executable, "-m", "lmablate.train", *command]).returncode
    if code not in (0, 1):
        sys.exit(code)


def final_losses(base: Sweep, arm: str, rates: Sequence[float]) -> dict[float, float]:
    """Rate -> final validation loss averaged over seeds; infinite where a seed diverged.

    Exits with 1 where a run is missing or failed for another reason.
    """
    jobs = [at_rate(job, rate) for rate in rates for job in base.jobs if job.arm(base.factors) == arm]
    losses: dict[float, list[float]] = {}
    for job, run in expected(Sweep(jobs, [*base.factors, RATE])):
        status = run.status()
        diverged = status["state"] == "failed" and str(status.get("error")).startswith("diverged")
        if status["state"] != "done" and not diverged:
            sys.exit(f"lmablate: {run.id} is {status['state']}: run the same command again to go on.")
        losses.setdefault(job.cfg.optim.lr, []).append(math.inf if diverged else status["val/loss"])
    return {rate: sum(values) / len(values) for rate, values in losses.items()}


def at_rate(job: Job, rate: float) -> Job:
    cfg = job.cfg.copy()
    cfg.optim.lr = float(typed(rate))
    return replace(job, cfg=cfg, overrides=[*job.overrides, f"{RATE}={typed(rate)}"])


def widened(losses: Mapping[float, float]) -> float | None:
    """The next rate beyond the edge that the lowest loss lies on; None where it lies inside.

    The grid goes on as it is spaced: 1, 3, 10 has 0.3 before it and 30 after it.
    """
    rates = sorted(losses)
    best = min(rates, key=lambda rate: losses[rate])
    if not math.isfinite(losses[best]):
        raise UserError(f"Every run diverged, from {RATE}={rates[0]:g} to {rates[-1]:g}: start with a lower scale.lrs.")
    if best == rates[0]:
        return float(typed(beyond(rates)))
    if best == rates[-1]:
        return float(typed(beyond(rates[::-1])))
    return None


def beyond(rates: Sequence[float]) -> float:
    """The rate before the first of `rates`, in the direction that they come from."""
    if len(rates) == 1:
        return rates[0] / 3
    return rates[0] * rates[1] / rates[2] if len(rates) > 2 else rates[0] ** 2 / rates[1]
