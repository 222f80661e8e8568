"""What a sweep compares beyond its factor, and what it costs: `python -m lmablate.audit [overrides of train]`."""

import sys

from rich.console import Console
from rich.table import Table

from lmablate.auditing import ArmAudit, audit_arm, cost, warnings
from lmablate.cli import report_mistakes
from lmablate.sweeps import plan


def audit(arguments: list[str]) -> None:
    """Prints a table of the arms at step 0, warnings about confounds, and the cost of the whole sweep."""
    sweep = plan(arguments)
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(list(arms.values())))
    found = list(warnings(list(arms.values()), sweep))
    for warning in found:
        console.print(f"[yellow]warning[/yellow]  {warning}", highlight=False)
    if not found:
        console.print("No confound found.")
    total = cost(sweep, arms)
    console.print(
        f"\n{len(sweep.jobs)} runs, {total.done} done, {total.to_do} to do: {total.flops:.2e} FLOPs, about "
        f"{total.hours:.2g} h on this machine one at a time, by {len(arms)} measured speeds.",
        highlight=False,
    )


def table(arms: list[ArmAudit]) -> Table:
    columns = (
        "arm", "parameters", "d_ff", "MFLOPs/token", "loss at init", "ln V", "logit std", "grad norm",
        "by layer", "pos/token", "h/run", "memory",
    )  # fmt: skip
    out = Table(*columns, title="Arms at step 0")
    for a in arms:
        out.add_row(
            a.name, f"{a.parameters:,}", str(a.cfg.model.d_ff), f"{a.flops_per_token / 1e6:.2f}", f"{a.init_loss:.2f}",
            f"{a.uniform:.2f}", f"{a.logit_std:.2f}", f"{a.grad_norm:.2f}",
            " ".join(f"{norm:.2g}" for norm in a.layer_grad_norms), f"{a.position_ratio:.2f}", f"{a.hours:.2g}",
            f"{a.memory / 2**20:.0f} MiB",
        )  # fmt: skip
    return out


if __name__ == "__main__":
    report_mistakes(audit, sys.argv[1:])
