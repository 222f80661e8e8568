"""Tune every arm of a sweep by a pilot: with seeds of its own, and with equal effort for all arms.

Each arm has the same number of trials. A trial is one setting of the tuned keys, trained with every pilot seed. The
first trial is the arm's own setting; from then on the search tries the untried neighbours of the best setting so far,
the farthest ones first. All trials count: which is best is decided by the mean final loss over the pilot seeds.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import resolve_config
from lmablate.config.tuned import TUNABLE, tuning_setting
from lmablate.errors import UserError, counted
from lmablate.files import read_yaml
from lmablate.sweep.jobs import Job, Sweep, expand_sweep, expected_runs
from lmablate.sweep.lr_search import at_levels, launch, mean_final_loss

log = logging.getLogger(__name__)

# Units of the logarithm of a value: 8 of them are the first step of TUNABLE, a factor of 3.16 for a learning rate.
_STRIDES = (8, 4, 2, 1)
# A setting of the tuned keys: for each, how many units it lies above the arm's own value.
Point = tuple[int, ...]


@dataclass(frozen=True)
class TunedArm:
    """What the pilot found for an arm.

    Attributes:
        arm: the arm's name.
        base: the values that the tuned keys had before.
        losses: the mean final validation loss of each setting that was tried, in nats per token; infinite if all of its
            runs diverged.
        config: the arm's config before resolution, without Hydra's node.
    """

    arm: str
    base: dict[str, float]
    losses: dict[Point, float]
    config: DictConfig

    @property
    def best(self) -> Point:
        """The setting with the lowest loss."""
        return best_point(self.losses)

    @property
    def next(self) -> Point | None:
        """The setting to try next, the arm's own first; None if the search is at its end."""
        return next_point(self.losses) if self.losses else (0,) * len(self.base)

    @property
    def at_edge(self) -> bool:
        """Whether the search ended before it had looked at all sides of the best setting."""
        return bool(_untried_sides(self.losses, _STRIDES[0]))

    def values(self, point: Point) -> dict[str, float]:
        """Return the values of a setting."""
        return point_values(self.base, point)


def tune_arms(arguments: list[str], keys: Sequence[str], trials: int, seeds: Sequence[int]) -> list[TunedArm]:
    """Run the pilot of a sweep, and return what it found for each arm. Finished runs are not run again.

    Args:
        arguments: overrides of a sweep.
        keys: what to tune, from `TUNABLE`.
        trials: settings to try for each arm, its own among them.
        seeds: the pilot's seeds.

    Raises:
        UserError: if an arm's config is refused, a key cannot be tuned, the sweep uses a pilot's seed, or every run of
            an arm diverged.
        SystemExit: if a run failed for another reason than divergence.
    """
    base = expand_sweep(arguments)
    _check(base, keys, seeds)
    log.info("%s", _cost(len(base.arms), trials, len(seeds)))
    found = {
        arm: TunedArm(arm, {key: OmegaConf.select(job.cfg, key) for key in keys}, {}, job.cfg)
        for arm, job in base.arms.items()
    }
    for _ in range(trials):
        points = {arm: point for arm, tuned in found.items() if (point := tuned.next) is not None}
        values = {arm: found[arm].values(point) for arm, point in points.items()}
        for command in trial_commands(arguments, base, values, seeds):
            launch(command)
        for arm, point in points.items():
            found[arm].losses[point] = _mean_loss(base, base.arms[arm], values[arm], seeds)
            log.info("%s %s: val/loss %.4f", arm, _words(values[arm]), found[arm].losses[point])
    for arm, tuned in found.items():
        if not math.isfinite(tuned.losses[tuned.best]):
            raise UserError(f"Every trial of {arm} diverged, down to {_words(tuned.values(min(tuned.losses)))}.")
    return [*found.values()]


def _check(base: Sweep, keys: Sequence[str], seeds: Sequence[int]) -> None:
    if both := sorted({job.seed for job in base.jobs} & {*seeds}):
        raise UserError(
            f"pilot_seeds: {both[0]} is a seed of the sweep, too: values must be chosen by other runs than those that "
            "they are judged by."
        )
    for key in keys:
        if key in base.factors:
            raise UserError(f"{key} is swept over: it cannot be tuned, too.")
        for arm, job in base.arms.items():
            if not OmegaConf.select(job.cfg, key) > 0:
                raise UserError(f"{key}={OmegaConf.select(job.cfg, key)} of {arm} cannot be tuned: start above 0.")
    for job in base.arms.values():
        if job.cfg.tuned is not None:
            raise UserError("tuned is already chosen: leave it out, because the pilot chooses the values.")
        resolve_config(job.cfg)


def _cost(arms: int, trials: int, seeds: int) -> str:
    runs = counted(arms * trials * seeds, "run")
    return f"{runs}: {counted(arms, 'arm')}, {counted(trials, 'trial')} each, {counted(seeds, 'pilot seed')}"


def trial_commands(
    arguments: list[str], base: Sweep, tried: Mapping[str, Mapping[str, float]], seeds: Sequence[int]
) -> list[list[str]]:
    """Return the command lines that run one trial of each arm.

    Arms that try the same values are one sweep where they can be, so that their runs share the machine.

    Args:
        arguments: the overrides of the sweep that is tuned.
        base: the sweep that they stand for.
        tried: the values that each arm tries, by its name.
        seeds: the pilot's seeds.
    """
    same: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for arm, values in tried.items():
        same.setdefault((*values.items(),), []).append(arm)
    return [
        [
            "-m",
            *(a for a in at_levels(arguments, levels) if a.split("=", 1)[0] not in {"seed", *dict(values)}),
            f"name={base.jobs[0].cfg.name}_tune",
            f"seed={','.join(map(str, seeds))}",
            *(f"{key}={value}" for key, value in values),
        ]
        for values, arms in same.items()
        for levels in _levels_of(base, arms)
    ]


def _levels_of(base: Sweep, arms: Sequence[str]) -> list[dict[str, str]]:
    """Return the levels of each sweep that together train these arms, and no others.

    Args:
        base: the sweep of all arms.
        arms: the names of some of them.

    Returns:
        One entry if the arms are all of them, or all combinations of some levels; else one for each arm. An entry has
        a level of each factor, or several with commas; it is empty for all arms.
    """
    if len(arms) == len(base.arms):
        return [{}]
    each = [base.arms[arm].levels(base.factors) for arm in arms]
    together = {factor: [*dict.fromkeys(levels[factor] for levels in each)] for factor in base.factors}
    if math.prod(map(len, together.values())) == len(arms):
        return [{factor: ",".join(levels) for factor, levels in together.items()}]
    return each


def _mean_loss(base: Sweep, job: Job, values: Mapping[str, float], seeds: Sequence[int]) -> float:
    jobs = [job.with_values({**values, "seed": seed}) for seed in seeds]
    return mean_final_loss([run for _, run in expected_runs(Sweep(jobs, [*base.factors, *values]))])


def _words(values: Mapping[str, float]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def point_values(base: Mapping[str, float], point: Point) -> dict[str, float]:
    """Return the values of a setting, rounded to three digits; whole numbers stay whole.

    Args:
        base: the arm's own values, by key.
        point: how far each lies above it, in the order of `base`.
    """
    values: dict[str, float] = {}
    for (key, value), units in zip(base.items(), point, strict=True):
        moved = value * TUNABLE[key] ** (units / _STRIDES[0])
        values[key] = value if units == 0 else max(1, round(moved)) if isinstance(value, int) else float(f"{moved:.3g}")
    return values


def best_point(losses: Mapping[Point, float]) -> Point:
    """Return the setting with the lowest loss; of several that diverged, the one with the lowest values."""
    return min(losses, key=lambda point: (losses[point], point))


def next_point(losses: Mapping[Point, float]) -> Point | None:
    """Return the setting to try next; None if all sides of the best one have been tried, down to the finest stride.

    Args:
        losses: those of the settings tried so far.
    """
    return next((point for stride in _STRIDES for point in _untried_sides(losses, stride)), None)


def _untried_sides(losses: Mapping[Point, float], stride: int) -> list[Point]:
    """Return the points beside the best one, `stride` units away in one key, between which and it nothing was tried."""
    best = best_point(losses)
    sides = [(axis, sign) for axis in range(len(best)) for sign in (1, -1)]
    return [
        _moved(best, axis, sign * stride)
        for axis, sign in sides
        if not any(_moved(best, axis, sign * units) in losses for units in range(1, stride + 1))
    ]


def _moved(point: Point, axis: int, units: int) -> Point:
    return (*point[:axis], point[axis] + units, *point[axis + 1 :])


def tuned_file(arms: Sequence[TunedArm], seeds: Sequence[int], command: str, date: str) -> dict[str, Any]:
    """Return the content of a file of the group `tuned`, with where its values come from.

    Args:
        arms: what the pilot found.
        seeds: the pilot's seeds.
        command: the command line of the pilot.
        date: the day of the pilot.
    """
    whens = _what_tells_apart([arm.config for arm in arms], [key for arm in arms for key in arm.base])
    return {
        "command": command,
        "date": date,
        "seeds": [*seeds],
        "setting": _common([tuning_setting(arm.config) for arm in arms]),
        "arms": [
            {
                "arm": arm.arm,
                "when": when,
                "base": arm.base,
                "values": arm.values(arm.best),
                "loss": arm.losses[arm.best],
                "at_edge": arm.at_edge,
                "trials": [{**arm.values(point), "loss": loss} for point, loss in arm.losses.items()],
            }
            for arm, when in zip(arms, whens, strict=True)
        ],
    }


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all settings share. Where they differ, as the sizes of a ladder do, `when` tells the arms apart."""
    first = settings[0]
    return {key: value for key, value in first.items() if all(other[key] == value for other in settings)}


def is_tuned_file(path: Path, arms: Collection[str]) -> bool:
    """Return whether a file holds values that were tuned for these arms.

    Args:
        path: the file.
        arms: the names of the arms.
    """
    try:
        content = read_yaml(path)
        return "lmablate.tune" in content["command"] and {arm["arm"] for arm in content["arms"]} == {*arms}
    except (OSError, ValueError, UserError, LookupError, TypeError, yaml.YAMLError):
        return False


def _what_tells_apart(configs: Sequence[DictConfig], tuned_keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each config the values of the keys in which the configs differ; null for a key that it lacks."""
    leaves = [_leaves(OmegaConf.to_container(cfg, resolve=True)) for cfg in configs]
    keys = sorted({key for found in leaves for key in found} - {*tuned_keys, "name", "seed"})
    keys = [key for key in keys if any(found.get(key) != leaves[0].get(key) for found in leaves)]
    return [{key: found.get(key) for key in keys} for found in leaves]


def _leaves(node: Any, key: str = "") -> dict[str, Any]:
    """Return the values of a nested config by dotted key; a list is one value."""
    if not isinstance(node, dict):
        return {key: node}
    return {k: v for name, child in node.items() for k, v in _leaves(child, f"{key}.{name}" if key else name).items()}
