"""Confounds are found in how the exported runs started."""

from lmablate.results.report.starts import find_confounds_in_exports
from tests.results.report.helpers import as_exported, simulated


def test_a_start_above_ln_v_is_found_in_the_exports() -> None:
    simulation = simulated(0, pairs=3)
    for init, loss in (("cs336", 190.0), ("scaled", 7.0)):
        log = simulation.add("bad", 0, {"model/init": init})
        log("init/loss", loss, [0])
        log("init/loss_over_uniform", loss - 6.9, [0])
        log("grad_norm", [loss, 1.0], [0, 1])
        log("clipped", [1.0, 0.0], [0, 1])
        log("grad_norm_clipped", [1.0, 1.0], [0, 1])
    bad = as_exported("bad", simulation.table, simulation.facts.assign(parameters=1.0, flops_per_token=1.0, error=""))
    confounds = find_confounds_in_exports(bad)
    assert any("init cs336 starts at 190.0 nats, 183.1 above ln V = 6.9" in sentence for sentence in confounds)
    assert any("gradient of norm 190.0 at step 0, clipped to 1" in sentence for sentence in confounds)
    assert not any("parameters" in sentence for sentence in confounds)
