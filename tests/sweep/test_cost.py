"""The cost of a sweep is that of the runs that are not done."""

from pathlib import Path

import pytest

from lmablate.sweep.arm_audit import audit_arm
from lmablate.sweep.cost import Cost, sweep_cost
from lmablate.sweep.jobs import expand_sweep, expected_runs
from tests.tiny import SMALL


def test_runs_that_are_done_cost_nothing(corpus: list[str], tmp_path: Path) -> None:
    sweep = expand_sweep(["-m", *SMALL, *corpus, f"runs_dir={tmp_path / 'runs'}", "model/pos=rope,nope", "seed=0,1"])
    arms = {name: audit_arm(name, job) for name, job in sweep.arms.items()}
    rope, nope = arms["pos=rope"], arms["pos=nope"]
    cost = sweep_cost(sweep, arms)
    assert (cost.done, cost.to_do) == (0, 4)
    assert cost.flops == 2 * rope.flops + 2 * nope.flops
    (_, run), *_ = expected_runs(sweep)
    run.folder.mkdir(parents=True)
    run.set_status("done")
    cost = sweep_cost(sweep, arms)
    assert (cost.done, cost.to_do) == (1, 3)
    assert cost.flops == rope.flops + 2 * nope.flops
    assert cost.hours == pytest.approx(rope.hours + 2 * nope.hours)


def test_a_cost_is_a_sentence() -> None:
    assert Cost(done=1, to_do=3, flops=2.5e12, hours=0.25).sentence(speeds=2) == (
        "4 runs, 1 done, 3 to do: 2.50e+12 FLOPs, about 15 min on this machine one at a time, by 2 measured speeds."
    )
