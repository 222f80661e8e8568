"""Show what differs between the arms of a sweep beyond its factor: `python -m lmablate.audit [overrides of train]`.

Nothing is trained. Every arm is built and measured on one batch at step 0, confounds are described in words, and the
cost of the sweep is estimated. out=FILE also writes the findings as JSON, which the report shows if FILE is
analysis/exports/NAME.audit.json. A FILE that is not an older audit of these arms is replaced with overwrite=true only.

  python -m lmablate.audit experiment=weight_tying
      are its arms equal in size, in cost, and in their loss at initialisation?
  python -m lmablate.audit -m model/act=relu,swiglu match=params
      a sweep typed by hand, its arms matched in parameters
"""

from functools import partial

from rich.table import Table
from rich.text import Text

from lmablate.config.command_line import take_own_arguments
from lmablate.config.hydra_entry import run_override_command
from lmablate.errors import UserError, duration
from lmablate.files import refuse_foreign, user_path, write_json
from lmablate.results.exports.recorded import printable
from lmablate.results.terminal import open_console
from lmablate.sweep.arm_audit import ArmAudit, audit_arm, sweep_confounds
from lmablate.sweep.cost import sweep_cost
from lmablate.sweep.findings import findings, is_audit_of
from lmablate.sweep.jobs import expand_sweep

# The value of out= that writes no file.
NOWHERE = "null"


def audit(arguments: list[str]) -> None:
    """Print the arms at step 0, warnings about confounds, and the cost of the whole sweep."""
    own, arguments = take_own_arguments(arguments, {"out": NOWHERE, "overwrite": "false"})
    out = None if own["out"] == NOWHERE else user_path("out", own["out"])
    sweep = expand_sweep(arguments)
    if own["overwrite"] not in ("true", "false"):
        raise UserError(f"overwrite={own['overwrite']} is not allowed: it must be true or false.")
    overwrite = own["overwrite"] == "true"
    is_ours = partial(is_audit_of, arms=sweep.arms)
    refuse_foreign("out", [out] if out else [], is_ours, "an audit of one of these arms", overwrite)
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    console = open_console(160)
    console.print(arms_table(list(arms.values())))
    found = list(sweep_confounds(list(arms.values()), sweep))
    for warning in found:
        console.print(Text.assemble(("warning", "yellow"), f"  {warning}"))
    if not found:
        console.print("No confound found.")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, findings(arguments, sweep, list(arms.values()), found))
    console.print(f"\n{sweep_cost(sweep, arms).sentence(speeds=len(arms))}")


def arms_table(arms: list[ArmAudit]) -> Table:
    """Return what was measured of each arm at step 0."""
    columns = (
        "arm", "parameters", "d_ff", "MFLOPs/token", "loss at init", "ln V", "logit std", "grad norm",
        "by layer", "pos/token", "time/run", "memory",
    )  # fmt: skip
    table = Table(*columns, title="Arms at step 0")
    for a in arms:
        table.add_row(
            printable(a.name), f"{a.parameters:,}", str(a.cfg.model.d_ff), f"{a.flops_per_token / 1e6:.2f}",
            f"{a.init_loss:.2f}", f"{a.uniform:.2f}", f"{a.logit_std:.2f}", f"{a.grad_norm:.2f}",
            " ".join(f"{norm:.2g}" for norm in a.layer_grad_norms), f"{a.position_ratio:.2f}", duration(3600 * a.hours),
            f"{a.memory / 2**20:.0f} MiB",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    run_override_command(audit)
