"""What a sweep compares beyond its factor, and what it costs: `python -m lmablate.audit [overrides of train]`."""

import platform
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lmablate import config
from lmablate.auditing import ArmAudit, audit_arm, cost, warnings
from lmablate.cli import report_mistakes
from lmablate.files import write_json
from lmablate.planning import sentence
from lmablate.sweeps import Sweep, plan


def audit(arguments: list[str]) -> None:
    """Prints a table of the arms at step 0, warnings about confounds, and the cost of the whole sweep.

    out=FILE keeps the findings, for the report to show: FILE is analysis/exports/NAME.audit.json by convention.
    """
    files = [Path(a.removeprefix("out=")) for a in arguments if a.startswith("out=")]
    arguments = [a for a in arguments if not a.startswith("out=")]
    sweep = plan(arguments)
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(list(arms.values())))
    found = list(warnings(list(arms.values()), sweep))
    for warning in found:
        console.print(f"[yellow]warning[/yellow]  {warning}", highlight=False)
    if not found:
        console.print("No confound found.")
    for file in files:
        write_json(file, findings(arguments, sweep, list(arms.values()), found))
    console.print(f"\n{sentence(sweep, cost(sweep, arms), len(arms))}", highlight=False)


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


def findings(arguments: list[str], sweep: Sweep, arms: list[ArmAudit], warned: list[str]) -> dict[str, object]:
    """The audit as a JSON value, with the command that it is about and the machine that it ran on."""
    said = [a for a in arguments if not a.startswith(("runs_dir=", "data_dir="))]
    return {
        "command": " ".join(["python -m lmablate.train", *said]),
        "scale": sweep.jobs[0].choices.get("scale"),
        "machine": f"{processor()}, {config.cores()} cores, torch {torch.__version__}",
        "arms": [{key: value for key, value in asdict(arm).items() if key != "cfg"} for arm in arms],
        "warnings": warned,
    }


def processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    if names:
        return names[0]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    report_mistakes(audit, sys.argv[1:])
