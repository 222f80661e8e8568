"""What a command would train and what that costs: `python -m lmablate.train [overrides] +plan=true`."""

import sys

from rich.console import Console
from rich.table import Table

from lmablate.auditing import ArmAudit, Cost, audit_arm, cost
from lmablate.lr_sweep import first_round
from lmablate.sweeps import Sweep, plan

LR_SWEEP = "+lr_sweep=true"


def show(arguments: list[str]) -> None:
    """Prints runs, parameters, FLOPs and hours by arm and in sum. Trains nothing."""
    sweep = plan([argument for argument in arguments if argument != LR_SWEEP])
    if LR_SWEEP in arguments:
        sweep = plan(first_round([argument for argument in arguments if argument != LR_SWEEP], sweep))
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table(arms))
    console.print(sentence(sweep, cost(sweep, arms), len(arms)))


def table(arms: dict[str, ArmAudit]) -> Table:
    out = Table("arm", "parameters", "FLOPs/run", "h/run")
    for name, arm in arms.items():
        out.add_row(name, f"{arm.parameters:,}", f"{arm.flops:.2e}", f"{arm.hours:.2g}")
    return out


def sentence(sweep: Sweep, total: Cost, speeds: int) -> str:
    return (
        f"{len(sweep.jobs)} runs, {total.done} done, {total.to_do} to do: {total.flops:.2e} FLOPs, about "
        f"{total.hours:.2g} h on this machine one at a time, by {speeds} measured speeds."
    )
