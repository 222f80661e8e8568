"""Show what differs between the arms of a sweep beyond its factor: `python -m lmablate.audit [overrides of train]`.

Nothing is trained. Every arm is built and measured on one batch at step 0, confounds are described in words, and the
cost of the sweep is estimated. out=FILE also writes the findings as JSON, which the report shows if FILE is
analysis/exports/NAME.audit.json.

  python -m lmablate.audit experiment=weight_tying
      are its arms equal in size, in cost, and in their loss at initialisation?
  python -m lmablate.audit -m model/act=relu,swiglu match=params
      a sweep typed by hand, its arms matched in parameters
"""

import sys
from dataclasses import asdict

import torch
from rich.console import Console
from rich.table import Table

from lmablate.config.command_line import take_own_arguments
from lmablate.config.hydra_entry import run_override_command
from lmablate.errors import duration
from lmablate.files import user_path, write_json
from lmablate.machine import available_threads, processor_name
from lmablate.sweep.arm_audit import ArmAudit, audit_arm, sweep_confounds
from lmablate.sweep.cost import sweep_cost
from lmablate.sweep.jobs import Sweep, expand_sweep

# The value of out= that writes no file.
NOWHERE = "null"


def audit(arguments: list[str]) -> None:
    """Print the arms at step 0, warnings about confounds, and the cost of the whole sweep."""
    own, arguments = take_own_arguments(arguments, {"out": NOWHERE})
    sweep = expand_sweep(arguments)
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_table(list(arms.values())))
    found = list(sweep_confounds(list(arms.values()), sweep))
    for warning in found:
        console.print(f"[yellow]warning[/yellow]  {warning}", highlight=False)
    if not found:
        console.print("No confound found.")
    if own["out"] != NOWHERE:
        write_json(user_path("out", own["out"]), _findings(arguments, sweep, list(arms.values()), found))
    console.print(f"\n{sweep_cost(sweep, arms).sentence(speeds=len(arms))}", highlight=False)


def _table(arms: list[ArmAudit]) -> Table:
    columns = (
        "arm", "parameters", "d_ff", "MFLOPs/token", "loss at init", "ln V", "logit std", "grad norm",
        "by layer", "pos/token", "time/run", "memory",
    )  # fmt: skip
    table = Table(*columns, title="Arms at step 0")
    for a in arms:
        table.add_row(
            a.name, f"{a.parameters:,}", str(a.cfg.model.d_ff), f"{a.flops_per_token / 1e6:.2f}", f"{a.init_loss:.2f}",
            f"{a.uniform:.2f}", f"{a.logit_std:.2f}", f"{a.grad_norm:.2f}",
            " ".join(f"{norm:.2g}" for norm in a.layer_grad_norms), f"{a.position_ratio:.2f}", duration(3600 * a.hours),
            f"{a.memory / 2**20:.0f} MiB",
        )  # fmt: skip
    return table


def _findings(arguments: list[str], sweep: Sweep, arms: list[ArmAudit], warnings: list[str]) -> dict[str, object]:
    """Return the audit as a JSON value, with the command that it describes and the machine that it ran on."""
    shown = [a for a in arguments if not a.startswith(("runs_dir=", "data_dir="))]
    return {
        "command": " ".join(["python -m lmablate.train", *shown]),
        "scale": sweep.jobs[0].choices.get("scale"),
        "machine": f"{processor_name()}, {available_threads()} cores, torch {torch.__version__}",
        "arms": [{key: value for key, value in asdict(arm).items() if key != "cfg"} for arm in arms],
        "warnings": warnings,
    }


if __name__ == "__main__":
    run_override_command(audit, __doc__)
