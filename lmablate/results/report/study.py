"""All experiments that have exports, together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lmablate.errors import UserError
from lmablate.evidence import Claim, Measured, RunTable
from lmablate.results.exports import Exported, exported, load


@dataclass(frozen=True)
class Study:
    """experiments: by name, in the order of their names."""

    experiments: Mapping[str, Exported]

    @classmethod
    def load(cls, folder: Path) -> "Study":
        """Raises UserError where `folder` has no exports, or damaged ones."""
        names = exported(folder)
        if not names:
            raise UserError(f"exports={folder} holds no table: make one with `python -m lmablate.export`.")
        return cls({name: load(folder, name) for name in names})

    def in_order(self, claims: Sequence[Claim]) -> dict[str, Exported]:
        """The experiments in the order in which the claims need them; those that no claim needs come last."""
        needed = dict.fromkeys(p.experiment for claim in claims for p in claim.all_of)
        return {name: self.experiments[name] for name in [*needed, *self.experiments] if name in self.experiments}

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row per run and experiment."""
        return pd.concat([data.runs for data in self.experiments.values()], ignore_index=True)

    @cached_property
    def runs(self) -> RunTable:
        """Raises UserError where the runs cannot be compared."""
        return RunTable({name: _measured(data) for name, data in self.experiments.items()}, self.facts)

    @property
    def done(self) -> Any:
        """The rows of the finished runs, each run once."""
        return self.facts.loc[self.facts["state"] == "done"].drop_duplicates("run")


def _measured(data: Exported) -> Measured:
    arms: Any = data.runs[["run", "seed", *data.factors]]
    return Measured(arms, data.metrics.names, data.metrics.rows)
