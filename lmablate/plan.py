"""Show what a command line would train and what that costs: `python -m lmablate.plan [overrides of train]`.

Nothing is trained. Each arm is built and timed for a few steps; finished runs are counted as done.

  python -m lmablate.plan experiment=weight_tying scale=report
      parameters, FLOPs and hours of each arm; runs, FLOPs and hours in total
  python -m lmablate.plan -m model/pos=rope,nope seed=0,1,2,3
      the same for a sweep typed by hand
  python -m lmablate.plan experiment=norm_location +lr_sweep=true
      the first round of `lmablate.lr_sweep` on that experiment
"""

from rich.table import Table

from lmablate.config.hydra_entry import run_override_command
from lmablate.errors import duration
from lmablate.results.exports.recorded import printable
from lmablate.results.terminal import open_console
from lmablate.sweep.arm_audit import ArmAudit, audit_arm
from lmablate.sweep.cost import sweep_cost
from lmablate.sweep.jobs import expand_sweep
from lmablate.sweep.lr_search import first_round

LR_SWEEP = "+lr_sweep=true"


def plan(arguments: list[str]) -> None:
    """Print the size and cost of each arm, and of the whole sweep."""
    overrides = [argument for argument in arguments if argument != LR_SWEEP]
    sweep = expand_sweep(overrides)
    if LR_SWEEP in arguments:
        sweep = expand_sweep(first_round(overrides, sweep))
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = open_console(120)
    console.print(costs_table(arms))
    console.print(sweep_cost(sweep, arms).sentence(speeds=len(arms)))


def costs_table(arms: dict[str, ArmAudit]) -> Table:
    """Return the size and cost of each arm, by its name."""
    table = Table("arm", "parameters", "FLOPs/run", "time/run")
    for name, arm in arms.items():
        table.add_row(printable(name), f"{arm.parameters:,}", f"{arm.flops:.2e}", duration(3600 * arm.hours))
    return table


if __name__ == "__main__":
    run_override_command(plan)
