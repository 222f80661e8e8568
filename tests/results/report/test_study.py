"""A study is in the order of its claims, and every claim finds its arms."""

import yaml

from lmablate.config.schema import CONF
from lmablate.evidence import load_claims
from lmablate.results.report.study import Study


def test_the_experiments_come_in_the_order_of_the_claims(study: Study) -> None:
    names = list(study.in_order(load_claims(CONF / "claim")))
    assert names[0] == "llama_vs_vanilla_tuned"
    assert names[-1] == "aa"
    assert sorted(names) == sorted(study.experiments)


def swept(experiment: str) -> dict[str, str]:
    """Return the parameters that an experiment sweeps over, including those of the experiments that it is based on."""
    raw = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    params: dict[str, str] = {}
    for base in raw.get("defaults", []):
        if isinstance(base, str):
            params |= swept(base)
    return params | raw.get("hydra", {}).get("sweeper", {}).get("params", {})


def test_every_claim_selects_arms_that_its_experiment_trains() -> None:
    for claim in load_claims(CONF / "claim"):
        for predicate in claim.all_of:
            params = swept(predicate.experiment)
            arms = [getattr(predicate, key, None) or {} for key in ("arm", "better", "worse", "one", "other")]
            for arm in [*arms, *getattr(predicate, "others", [])]:
                for factor, level in arm.items():
                    options = [option.strip("\"' ") for option in params[factor].split(",")]
                    assert level in options, f"{claim.id}: {predicate.experiment} has no {factor}={level}"
            assert getattr(predicate, "factor", "seed") in params
