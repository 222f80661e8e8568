"""The claims about sizes in conf/claim/ladder: their experiments train both arms at all sizes, in proportion."""

import pytest

from lmablate.config.build import model_shape, resolve_config
from lmablate.config.schema import CONF
from lmablate.evidence import Claim, load_claims
from lmablate.evidence.budget_predicates import EffectWithScale
from lmablate.sweep.jobs import expand_sweep

CLAIMS = load_claims(CONF / "claim" / "ladder")
RUNGS = ["1", "2", "3", "4"]


def test_each_claim_is_about_sizes_and_has_a_source() -> None:
    assert [claim.id for claim in CLAIMS] == [f"L{number:02d}" for number in range(1, len(CLAIMS) + 1)]
    assert [claim.id for claim in CLAIMS if "(arXiv" not in claim.reported] == []
    assert all(isinstance(predicate, EffectWithScale) for claim in CLAIMS for predicate in claim.all_of)


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_an_experiment_trains_both_arms_with_the_same_tokens_for_each_parameter(claim: Claim) -> None:
    (experiment,), (predicate,) = claim.experiments, claim.all_of
    assert isinstance(predicate, EffectWithScale)
    sweep = expand_sweep([f"experiment={experiment}", "seed=0"])
    trained = [{k: v.strip('"') for k, v in job.levels(sweep.factors).items()} for job in sweep.jobs]
    named = [{**arm, "rung": rung} for arm in (predicate.better, predicate.worse) for rung in RUNGS]
    assert sorted(map(str, trained)) == sorted(map(str, named))
    for job in sweep.jobs[: len(RUNGS)]:
        cfg = resolve_config(job.cfg)
        tokens = cfg.train.max_steps * cfg.train.batch_size * cfg.model.context_length
        assert tokens / model_shape(cfg).parameters() == pytest.approx(6.2, abs=0.2)
