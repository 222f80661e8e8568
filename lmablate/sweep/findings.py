"""What an audit found, as the file that the report shows."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmablate.files import read_json
from lmablate.machine import describe_machine
from lmablate.sweep.arm_audit import ArmAudit
from lmablate.sweep.jobs import Sweep


def findings(arguments: Sequence[str], sweep: Sweep, arms: Sequence[ArmAudit], warnings: list[str]) -> dict[str, Any]:
    """Return an audit as a JSON value, with the command that it describes and the machine that it ran on."""
    shown = [a for a in arguments if not a.startswith(("runs_dir=", "data_dir="))]
    return {
        "command": " ".join(["python -m lmablate.train", *shown]),
        "scale": sweep.jobs[0].choices.get("scale"),
        "machine": describe_machine(),
        "arms": [{key: value for key, value in asdict(arm).items() if key != "cfg"} for arm in arms],
        "warnings": warnings,
    }


def is_audit_of(path: Path, arms: Collection[str]) -> bool:
    """Return whether a file holds the findings of an audit of one of these arms."""
    try:
        found = read_json(path)
        return "warnings" in found and any(arm["name"] in arms for arm in found["arms"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
