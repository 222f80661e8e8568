"""Train one run or, with -m, a sweep: `python -m lmablate.train [-m] [overrides]`.

A finished run is skipped, and one that was interrupted is resumed.

  python -m lmablate.train
      the model of conf/config.yaml
  python -m lmablate.train -m model/pos=rope,sin,learned,nope seed=0,1,2
      twelve runs, except those that are done already
  python -m lmablate.train experiment=weight_tying scale=report hydra/launcher=slurm
      the report's experiment 04 at the report's size, on a cluster

Commands that take the same overrides, and have a --help of their own:

  python -m lmablate.plan       the runs of a sweep, and what is left to train, in FLOPs and hours
  python -m lmablate.audit      what differs between its arms beyond the factor, before anything is trained
  python -m lmablate.lr_sweep   each arm's own best learning rate
  python -m lmablate.tune       the same with other seeds and equal effort, stored for tuned=NAME
  python -m lmablate.decide     more seeds, look by look, until the claims about it are decided
  python -m lmablate.status     the state of its runs
  python -m lmablate.prepare    its data, made ahead of training
"""

import runpy
import sys

from omegaconf import DictConfig

from lmablate.config.help import train_help
from lmablate.config.hydra_entry import run_hydra_command

# Flags of `train`, and the commands that they stand for.
ALIASES = {"+plan=true": "lmablate.plan", "+lr_sweep=true": "lmablate.lr_sweep"}


def train(cfg: DictConfig) -> float:
    """Train the run that `cfg` describes, unless it is done, and return its validation loss in nats per token."""
    from lmablate.training.session import train_run  # here: it imports torch, which --help does without

    return train_run(cfg)


def check(cfg: DictConfig) -> None:
    """Check a single run before anything is written.

    Raises:
        UserError: if the config is refused, or if this machine lacks what it asks for.
    """
    from lmablate.training.session import check_run  # here, for the same reason

    check_run(cfg)


if __name__ == "__main__":
    if alias := next((flag for flag in ALIASES if flag in sys.argv), None):
        sys.argv.remove(alias)
        runpy.run_module(ALIASES[alias], run_name="__main__")
    else:
        from lmablate.train import train  # not __main__.train: launchers pickle it by its name for other processes

        run_hydra_command(train, lambda usage: train_help(usage, sys.argv[1:]), check)
