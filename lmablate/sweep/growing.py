"""An experiment whose arms get more seeds, look by look."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.evidence.divergence import step_of_divergence
from lmablate.evidence.predicates import Predicate
from lmablate.evidence.tables import Levels, name_of, same_level
from lmablate.runs.run import Run
from lmablate.sweep.jobs import Job, Sweep, expand_sweep, expected_runs
from lmablate.sweep.lr_search import at_levels


@dataclass(frozen=True)
class GrowingSweep:
    """The arms of an experiment, and their runs with any seeds.

    Attributes:
        arguments: the overrides of the sweep, without seeds.
        base: the sweep with one seed.
        runs: the run of each arm and seed, whether it exists yet or not.
    """

    arguments: list[str]
    base: Sweep
    runs: Mapping[tuple[str, int], Run]

    @classmethod
    def of(cls, arguments: list[str], seeds: Sequence[int]) -> "GrowingSweep":
        """Return the sweep that overrides stand for; its data is prepared, but nothing is trained.

        Args:
            arguments: the overrides. Seeds that their experiment sweeps over do not count.
            seeds: all seeds that may be trained.

        Raises:
            UserError: if they choose seeds, or a config is refused.
        """
        if typed := [argument for argument in arguments if argument.lstrip("+").startswith("seed=")]:
            raise UserError(f"{typed[0]} is not allowed: the looks choose the seeds, from first_seed=N on.")
        base = expand_sweep([*arguments, f"seed={seeds[0]}"])
        jobs = [job.with_values({"seed": seed}) for job in base.jobs for seed in seeds]
        runs = expected_runs(Sweep(jobs, base.factors))
        return cls(arguments, base, {(job.arm(base.factors), job.seed): run for job, run in runs})

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.base.jobs[0].cfg.name

    def arms_of(self, predicate: Predicate) -> set[str]:
        """Return the arms on which a predicate is measured; all arms, if what it names cannot be told from a config.

        Raises:
            UserError: if it names an arm that is not there.
        """
        found: set[str] = set()
        for levels in predicate.arms:
            if not all(_knows(job, levels) for job in self.base.arms.values()):
                return {*self.base.arms}
            matching = {arm for arm, job in self.base.arms.items() if _is_at(job, levels)}
            if not matching:
                raise UserError(f"{name_of(levels)} is no arm of {self.name}, which has {', '.join(self.base.arms)}.")
            found |= matching
        return found or {*self.base.arms}

    def due(self, arms: Iterable[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
        """Return the arms and seeds to launch: their runs have not ended, or do not belong to the experiment yet."""
        chosen = [(arm, seed) for arm in self.base.arms if arm in {*arms} for seed in seeds]
        return [key for key in chosen if not (has_ended(self.runs[key]) and self._has(self.runs[key]))]

    def _has(self, run: Run) -> bool:
        return (run.folder / "experiments" / self.name).exists()

    def command_lines(self, due: Sequence[tuple[str, int]]) -> list[list[str]]:
        """Return the arguments of the sweeps that train exactly these runs, in as few sweeps as is simple.

        Arms that need the same seeds are one sweep if they are all combinations of some levels, else one each.
        """
        seeds_of: dict[str, list[int]] = {}
        for arm, seed in due:
            seeds_of.setdefault(arm, []).append(seed)
        alike: dict[tuple[int, ...], list[str]] = {}
        for arm, seeds in seeds_of.items():
            alike.setdefault(tuple(seeds), []).append(arm)
        return [
            ["-m", *at_levels(self.arguments, levels), f"name={self.name}", f"seed={','.join(map(str, seeds))}"]
            for seeds, arms in alike.items()
            for levels in self._boxes(arms)
        ]

    def _boxes(self, arms: Sequence[str]) -> list[dict[str, str]]:
        """Return the levels of each factor, joined by commas, of one sweep over exactly these arms, or of several."""
        each = [self.base.arms[arm].levels(self.base.factors) for arm in arms]
        levels = {factor: list(dict.fromkeys(one[factor] for one in each)) for factor in self.base.factors}
        if len(arms) == len(self.base.arms):
            return [{}]
        if math.prod(map(len, levels.values())) == len(arms):
            return [{factor: ",".join(found) for factor, found in levels.items()}]
        return each


def has_ended(run: Run) -> bool:
    """Return whether a run has finished or diverged."""
    status = run.status()
    return status["state"] == "done" or step_of_divergence(status["state"], status.get("error")) is not None


def _value(job: Job, factor: str) -> str | None:
    """Return a job's option of a group, or value of a key; None if it has no such."""
    value = job.choices[factor] if factor in job.choices else OmegaConf.select(job.cfg, factor)
    return None if value is None else str(value)


def _knows(job: Job, levels: Levels) -> bool:
    return all(_value(job, factor) is not None for factor in levels)


def _is_at(job: Job, levels: Levels) -> bool:
    return all(same_level(_value(job, factor) or "", level) for factor, level in levels.items())
