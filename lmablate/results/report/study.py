"""All experiments that have exports, together, and their finished runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence import Claim, Measured, RunTable
from lmablate.results.exports import Exported, as_exported, exported_names, load_exported, read_runs
from lmablate.results.frames import get_column, select_columns, select_rows
from lmablate.results.outcomes import counted_losses
from lmablate.results.plots.style import level_name


@dataclass(frozen=True)
class Study:
    """All experiments of a folder of exports.

    Attributes:
        experiments: the experiments by name, in the order of their names.
    """

    experiments: Mapping[str, Exported]

    @classmethod
    def load(cls, folder: Path, names: Sequence[str] = ()) -> "Study":
        """Load these experiments in `folder`, or every one if none is named.

        Raises:
            UserError: if it has no exports, or damaged ones.
        """
        names = names or exported_names(folder)
        if not names:
            raise UserError(f"exports={folder} holds no table: make one with `python -m lmablate.export`.")
        return cls({name: load_exported(folder, name) for name in names})

    @classmethod
    def of_runs(cls, runs_dir: Path, ids: Mapping[str, Collection[str]]) -> "Study":
        """Read some runs of a folder, without writing their tables anywhere.

        Args:
            runs_dir: the folder of the runs.
            ids: the ids of the runs of each experiment.

        Raises:
            UserError: if an experiment has none, or a file is damaged.
        """
        runs = read_runs("metrics", runs_dir)
        return cls({name: as_exported([run for run in runs if run.id in chosen], name) for name, chosen in ids.items()})

    def in_order(self, claims: Sequence[Claim]) -> dict[str, Exported]:
        """Return the experiments in the order in which the claims need them, then those that no claim needs."""
        needed = dict.fromkeys(p.experiment for claim in claims for p in claim.all_of)
        return {name: self.experiments[name] for name in [*needed, *self.experiments] if name in self.experiments}

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row per run and experiment."""
        return pd.concat([data.runs for data in self.experiments.values()], ignore_index=True)

    @cached_property
    def run_table(self) -> RunTable:
        """The finished runs with their measurements.

        Raises:
            UserError: if the runs cannot be compared.
        """
        return RunTable({name: _measured(data) for name, data in self.experiments.items()}, self.facts)

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of the finished runs, each run once."""
        return finished_runs(self.facts).drop_duplicates("run")


def _measured(data: Exported) -> Measured:
    arms = select_columns(data.runs, ["run", "seed", *data.factors])
    return Measured(arms, data.metrics.names, data.metrics.rows)


def finished_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table of runs in state "done"."""
    return select_rows(runs, runs["state"] == "done")


def final_losses(data: Exported, without: Sequence[str] = ()) -> dict[tuple[str, ...], pd.Series]:
    """Return the final validation losses of each arm's runs that finished, or diverged and learnt nothing.

    Args:
        data: the experiment.
        without: factors that do not distinguish arms.

    Returns:
        Losses in nats per token, indexed by seed; by arm: the levels of its factors, in words.
    """
    factors = [factor for factor in data.factors if factor not in without]
    counted = counted_losses(data)
    runs = select_rows(data.runs, data.runs["run"].isin([*counted]))
    words = [[level_name(factor, level) for level in get_column(runs, factor)] for factor in factors]
    arms = list(zip(*words, strict=True)) if words else [()] * len(runs)
    losses: dict[tuple[str, ...], pd.Series] = {}
    for arm in dict.fromkeys(arms):
        chosen = select_rows(runs, [other == arm for other in arms]).drop_duplicates("seed")
        losses[arm] = pd.Series([counted[run] for run in chosen["run"]], index=chosen["seed"].to_numpy(), dtype=float)
    return losses
