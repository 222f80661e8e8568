"""Estimate the cost of a sweep: the runs that are left to do, by the measured speed of their arms."""

from collections.abc import Mapping
from dataclasses import dataclass

from lmablate.errors import counted, duration
from lmablate.runs.run import Run
from lmablate.sweep.arm_audit import ArmAudit
from lmablate.sweep.jobs import Sweep, expected_runs


@dataclass(frozen=True)
class Cost:
    """The cost of a sweep.

    Attributes:
        done: number of runs that are finished already.
        to_do: number of runs that are not.
        flops: training FLOPs of the runs to do.
        hours: estimated hours of the runs to do, one at a time, on this machine.
    """

    done: int
    to_do: int
    flops: float
    hours: float

    def sentence(self, speeds: int) -> str:
        """Return the cost in words.

        Args:
            speeds: number of arms whose speed was measured.
        """
        time, by = duration(3600 * self.hours), counted(speeds, "measured speed")
        return (
            f"{counted(self.done + self.to_do, 'run')}, {self.done} done, {self.to_do} to do: {self.flops:.2e} FLOPs, "
            f"about {time} on this machine one at a time, by {by}."
        )


def sweep_cost(sweep: Sweep, arms: Mapping[str, ArmAudit]) -> Cost:
    """Count the runs that are done, and add up the cost of the runs to do.

    Args:
        sweep: the jobs.
        arms: the audit of each arm, by the arm's name.
    """
    to_do = [arms[job.arm(sweep.factors)] for job, run in expected_runs(sweep) if run.status()["state"] != "done"]
    return Cost(
        done=len(sweep.jobs) - len(to_do),
        to_do=len(to_do),
        flops=sum(arm.flops for arm in to_do),
        hours=sum(arm.hours for arm in to_do),
    )


def training_seconds(run: Run) -> float:
    """Return how long a run was trained, by the speeds that it logged; evaluations are not counted. 0 if it has none.

    Stops between its steps do not count, so that it is the same for a run that was interrupted.
    """
    rows = run.metrics()
    speeds = [row["tokens_per_s"] for row in rows if row.get("tokens_per_s")]
    tokens = max((row.get("tokens", 0.0) for row in rows), default=0.0)
    return tokens * sum(1 / speed for speed in speeds) / len(speeds) if speeds else 0.0
