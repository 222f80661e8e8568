"""Branches: a run that begins with a stored checkpoint of a longer run instead of at step 0.

With `schedule=wsd` the learning rate is constant until the decay begins, whatever the length of the run. So one long
run serves shorter ones: each takes a checkpoint from before its own decay, and trains the rest. It has the bits of a
run that was never branched, because all that the steps before depend on is the same; `find_origin` makes sure of that.

"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from lmablate.config import schema
from lmablate.config.build import build
from lmablate.errors import UserError
from lmablate.files import write_bytes
from lmablate.runs.metrics import dump_row, read_metrics
from lmablate.runs.run import Run, differences
from lmablate.training.checkpoint import checkpoint_steps, load_checkpoint
from lmablate.training.recipe import learning_rate_of

# What a branch may have another value of. All else changes the steps before the branch, or the rows that record them.
_MAY_DIFFER = (("train", "max_steps"), ("train", "branch_from"), ("schedule",), ("optim", "min_lr"))


@dataclass(frozen=True)
class Origin:
    """Where a branch begins.

    Attributes:
        parent: the longer run, of which nothing is changed.
        step: the step of its checkpoint.
    """

    parent: Run
    step: int

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Load the parent's checkpoint, and return its state.

        Raises:
            UserError: if it is damaged.
        """
        state = load_checkpoint(
            self.parent.checkpoints, model, optimizer, run_id=self.parent.id, first=self.step, last=self.step
        )
        if state is None:
            raise UserError(f"train.branch_from={self.parent.id}: its checkpoint of step {self.step} is damaged.")
        return state

    def copy_rows(self, run: Run) -> None:
        """Write the parent's rows of metrics from before the branch as the first ones of `run`."""
        rows = [row for row in read_metrics(self.parent.metrics_path) if row["step"] < self.step]
        write_bytes(run.metrics_path, "".join(map(dump_row, rows)).encode())


def find_origin(cfg: DictConfig, identity: Mapping[str, Any]) -> Origin | None:
    """Return where a run begins whose config names a parent; None if it names none.

    It is the newest checkpoint up to the step from which both have another learning rate.

    Args:
        cfg: the run's resolved config.
        identity: its identity.

    Raises:
        UserError: if there is no such parent, if it differs in something that changes the steps before, or if it has no
            checkpoint that is early enough.
    """
    if cfg.train.branch_from is None:
        return None
    key, parent = f"train.branch_from={cfg.train.branch_from}", Run(Path(cfg.runs_dir) / cfg.train.branch_from)
    is_id = Path(cfg.train.branch_from).name == cfg.train.branch_from  # and no path to another folder
    if not is_id or not parent.facts_path.is_file():
        raise UserError(f"{key} is not allowed: it must be the id of a run in {cfg.runs_dir}.")
    of_parent = parent.facts()["identity"]
    if changes := differences(_without_what_may_differ(of_parent), _without_what_may_differ(identity)):
        raise UserError(f"{key} is not allowed, because the parent differs in more than its length: {changes[0]}.")
    until = min(_steps_in_common(of_parent["config"], identity["config"]), cfg.train.max_steps - 1)
    steps = checkpoint_steps(parent.checkpoints)
    if not (early := [step for step in steps if 0 < step <= until]):
        kept = ", ".join(map(str, steps)) or "none"
        raise UserError(
            f"{key} is not allowed: the learning rates agree up to step {until}, but the parent has no checkpoint from "
            f"before, only {kept}. Train it with a larger train.keep_checkpoints."
        )
    return Origin(parent, early[-1])


def _without_what_may_differ(identity: Mapping[str, Any]) -> dict[str, Any]:
    config = {key: dict(value) if isinstance(value, Mapping) else value for key, value in identity["config"].items()}
    for *path, last in _MAY_DIFFER:
        (config[path[0]] if path else config).pop(last, None)
    return {**identity, "config": config}


def _steps_in_common(*configs: Mapping[str, Any]) -> int:
    """Return how many steps from the first one on two runs have the same learning rate."""
    rates = []
    for config in configs:
        schedule = build(DictConfig(config.get("schedule", schema.NEUTRAL["schedule"])))
        optim, train = DictConfig(config["optim"]), DictConfig(config["train"])
        rates.append([learning_rate_of(schedule, step, optim, train) for step in range(train.max_steps)])
    pairs = enumerate(zip(*rates, strict=False))
    return next((step for step, (one, other) in pairs if one != other), min(map(len, rates)))
