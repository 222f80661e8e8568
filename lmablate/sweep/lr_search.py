"""Find the best learning rate of every arm of a sweep.

Each arm is trained over the scale's grid, under the name NAME_lr. While an arm's best rate lies on the edge of its
grid, the grid is extended beyond that edge, at most MAX_ROUNDS times. Finished runs are skipped, so repeating a search
is cheap.
"""

import logging
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from lmablate.config.build import resolve_config
from lmablate.errors import UserError, print_error
from lmablate.evidence.divergence import composite_loss, final_loss, step_of_divergence, untrained_loss
from lmablate.runs.run import Run
from lmablate.sweep.jobs import Sweep, expand_sweep, expected_runs

log = logging.getLogger(__name__)

RATE = "optim.lr"
# How often an arm's grid may be extended: in all by a factor of 100, on the usual grid of 1, 3, 10.
MAX_ROUNDS = 4


@dataclass(frozen=True)
class BestRate:
    """The learning rate of an arm at which the final validation loss, averaged over seeds, is lowest.

    A seed that diverged counts as one that learnt nothing.

    Attributes:
        arm: the arm's name.
        rate: the learning rate.
        loss: the final validation loss at that rate, in nats per token, averaged over seeds.
        at_edge: whether the rate still lies on the edge of the arm's grid after MAX_ROUNDS extensions.
    """

    arm: str
    rate: float
    loss: float
    at_edge: bool


def search_learning_rates(arguments: list[str]) -> list[BestRate]:
    """Train the arms round by round, and return the best rate of each.

    Args:
        arguments: overrides of a sweep that does not choose the learning rate itself.

    Raises:
        UserError: if an arm's config is refused, the learning rate is already chosen, the scale has no grid, or all
            runs of an arm diverged.
        SystemExit: with code 1 if a run failed for another reason than divergence; with a launched sweep's own code if
            that is neither 0 nor 1.
    """
    base = expand_sweep(arguments)
    _refuse_chosen_rates(arguments, base)
    for job in base.arms.values():
        resolve_config(job.cfg)
    grids = dict.fromkeys(base.arms, _starting_grid(base))
    launch(first_round(arguments, base))
    for _ in range(MAX_ROUNDS):
        added = {arm: rate for arm in grids if (rate := next_rate(final_losses_by_rate(base, arm, grids[arm])))}
        if not added:
            break
        for arm, rate in added.items():
            grids[arm] = sorted([*grids[arm], rate])
            launch(one_arm(arguments, base, arm, rate))
    found = []
    for arm, rates in grids.items():
        losses = final_losses_by_rate(base, arm, rates)
        best = min(losses, key=losses.__getitem__)
        found.append(BestRate(arm, best, losses[best], next_rate(losses) is not None))
    return found


def _refuse_chosen_rates(arguments: list[str], base: Sweep) -> None:
    if RATE in base.factors or any(argument.startswith(f"{RATE}=") for argument in arguments):
        raise UserError(f"{RATE} is already chosen: leave it out, because the search chooses it.")


def _starting_grid(base: Sweep) -> list[float]:
    """Return the rates of the scale's grid, ascending."""
    lrs = OmegaConf.select(base.jobs[0].cfg, "scale.lrs")
    if not lrs:
        raise UserError("scale.lrs is not set: the search needs a scale with a grid of learning rates.")
    return sorted(float(rate) for rate in str(lrs).split(","))


def first_round(arguments: list[str], base: Sweep) -> list[str]:
    """Return the command line of all arms over the starting grid.

    Args:
        arguments: the overrides of the search.
        base: the sweep that they stand for.
    """
    return _command_line(arguments, base, _starting_grid(base), {})


def one_arm(arguments: list[str], base: Sweep, arm: str, rate: float) -> list[str]:
    """Return the command line of one arm at one more rate, with all seeds.

    Args:
        arguments: the overrides of the search.
        base: the sweep that they stand for.
        arm: the arm's name.
        rate: the learning rate.
    """
    return _command_line(arguments, base, [rate], base.arms[arm].levels(base.factors))


def _command_line(arguments: list[str], base: Sweep, rates: Sequence[float], levels: Mapping[str, str]) -> list[str]:
    """Return the command line of a sweep over `rates`.

    Args:
        arguments: the overrides of the search.
        base: the sweep that they stand for.
        rates: the learning rates.
        levels: a single level for each factor that `arguments` or their experiment sweep over; empty to sweep over all.
    """
    grid = f"{RATE}={','.join(map(_format_rate, rates))}"
    return ["-m", *at_levels(arguments, levels), f"name={base.jobs[0].cfg.name}_lr", grid]


def at_levels(arguments: list[str], levels: Mapping[str, str]) -> list[str]:
    """Return overrides in which each factor that was swept over has one level.

    Args:
        arguments: overrides of a sweep. Its name is left out.
        levels: the level of each factor that `arguments` or their experiment sweep over; empty to sweep over all.
    """
    keys = [argument.split("=", 1)[0] for argument in arguments]
    rest = [
        argument
        for key, argument in zip(keys, arguments, strict=True)
        if key not in {"-m", "--multirun", "name", *levels}
    ]
    replaced = [f"{factor}={level}" for factor, level in levels.items() if factor in keys]
    params = ",".join(f"{factor}:'{level}'" for factor, level in levels.items() if factor not in keys)
    return [*rest, *replaced, *([f"hydra.sweeper.params={{{params}}}"] if params else [])]


def _format_rate(rate: float) -> str:
    """Return a rate in decimal, without the rounding errors of binary fractions."""
    return f"{rate:.12g}"


def launch(command: list[str]) -> None:
    """Run a sweep of `lmablate.train` in its own process.

    The sweep reports failed runs itself, with exit code 1; `mean_final_loss` reads their status afterwards.

    Args:
        command: the arguments of the sweep.

    Raises:
        SystemExit: with the sweep's own exit code if that is neither 0 nor 1.
    """
    log.info("python -m lmablate.train %s", " ".join(command))
    code = subprocess.run([sys.executable, "-m", "lmablate.train", *command]).returncode
    if code not in (0, 1):
        sys.exit(code)


def final_losses_by_rate(base: Sweep, arm: str, rates: Sequence[float]) -> dict[float, float]:
    """Return the final validation loss by rate, averaged over seeds; infinite if all seeds diverged.

    A seed that diverged counts as one that learnt nothing, by the rule of `lmablate.evidence.divergence`.

    Raises:
        SystemExit: with code 1 if a run is missing, or failed for another reason.
    """
    jobs = [
        job.with_values({RATE: float(_format_rate(rate))})
        for rate in rates
        for job in base.jobs
        if job.arm(base.factors) == arm
    ]
    runs: dict[float, list[Run]] = {}
    for job, run in expected_runs(Sweep(jobs, [*base.factors, RATE])):
        runs.setdefault(job.cfg.optim.lr, []).append(run)
    return {rate: mean_final_loss(at_rate) for rate, at_rate in runs.items()}


def mean_final_loss(runs: Sequence[Run]) -> float:
    """Return the mean final validation loss of runs, in nats per token.

    A run that diverged counts as untrained; if all of them did, the mean is infinite.

    Args:
        runs: runs that were launched.

    Raises:
        SystemExit: with code 1 if a run is missing, or failed for another reason.
    """
    losses, finished = [], False
    for run in runs:
        status = run.status()
        diverged = step_of_divergence(status["state"], status.get("error")) is not None
        if status["state"] != "done" and not diverged:
            print_error(f"{run.id} is {status['state']}: run the same command again to continue.")
            sys.exit(1)
        loss = math.inf if diverged else final_loss(status)
        losses.append(composite_loss(loss, _untrained_loss(run)))
        finished |= not diverged
    return sum(losses) / len(losses) if finished else math.inf


def _untrained_loss(run: Run) -> float:
    """Return the loss of a model that has learnt nothing, by the run's first row; infinite if it logged none."""
    first = next(iter(run.metrics()), {})
    return untrained_loss(first.get("init/loss", math.inf), first.get("init/loss_over_uniform", math.nan))


def next_rate(losses: Mapping[float, float]) -> float | None:
    """Return the rate to try next: one beyond the edge of the grid if the lowest loss lies there, else None.

    The grid continues with its own spacing: 1, 3, 10 is extended by 0.3 or 30.

    Args:
        losses: final loss by rate; infinite if all runs diverged.

    Raises:
        UserError: if every run diverged.
    """
    rates = sorted(losses)
    best = min(rates, key=lambda rate: losses[rate])
    if not math.isfinite(losses[best]):
        raise UserError(
            f"Every run of an arm diverged, from {RATE}={rates[0]:g} to {rates[-1]:g}: start with a lower scale.lrs."
        )
    if best == rates[0]:
        return float(_format_rate(_beyond(rates)))
    if best == rates[-1]:
        return float(_format_rate(_beyond(rates[::-1])))
    return None


def _beyond(rates: Sequence[float]) -> float:
    """Return the rate that would come before the first of `rates`, which ascend or descend."""
    if len(rates) == 1:
        return rates[0] / 3
    return rates[0] * rates[1] / rates[2] if len(rates) > 2 else rates[0] ** 2 / rates[1]
