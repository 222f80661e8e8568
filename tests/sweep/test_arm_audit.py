"""An arm at step 0 is measured on the model that would be trained."""

import math

import pytest

from lmablate.config.build import build_model, resolve_config
from lmablate.sweep.arm_audit import audit_arm, sweep_confounds
from lmablate.sweep.jobs import expand_sweep
from tests.tiny import SMALL


def test_an_arm_is_measured_at_step_0(corpus: list[str]) -> None:
    (job,) = expand_sweep([*SMALL, *corpus]).jobs
    arm = audit_arm("the model", job)
    model = build_model(resolve_config(job.cfg))
    assert arm.parameters == sum(p.numel() for p in model.parameters())
    assert 0 < arm.mlp_parameters < arm.parameters
    assert arm.uniform == pytest.approx(math.log(280))
    assert arm.init_loss == pytest.approx(arm.uniform, abs=1.5)
    assert len(arm.layer_grad_norms) == 2
    assert 0 < math.hypot(*arm.layer_grad_norms) <= arm.grad_norm
    assert arm.position_ratio == 0  # RoPE adds nothing to the embeddings
    assert arm.flops == arm.flops_per_token * 12 * 4 * 16
    assert arm.hours == pytest.approx(arm.seconds_per_token * 12 * 4 * 16 / 3600)
    assert arm.memory > 16 * arm.parameters


def test_a_shared_learning_rate_is_a_confound_unless_it_is_swept_over(corpus: list[str]) -> None:
    for rates, shared in (("1e-3", True), ("1e-3,1e-2", False)):
        sweep = expand_sweep([*SMALL, *corpus, "model/pos=rope,nope", f"optim.lr={rates}"])
        arms = [audit_arm(name, job) for name, job in sweep.arms.items()]
        assert any("share optim.lr" in confound for confound in sweep_confounds(arms, sweep)) == shared
