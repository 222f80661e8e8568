"""The claims of the field in conf/claim/field: each can be read, and its experiment trains the arms that it names."""

from pathlib import Path

import pytest
import yaml

from lmablate.config.schema import CONF
from lmablate.evidence import Claim, load_claims
from lmablate.evidence.predicates import Predicate
from lmablate.sweep.jobs import expand_sweep

CLAIMS = load_claims(CONF / "claim" / "field")
FILES = sorted(Path(CONF, "experiment", "field").glob("*.yaml"))
EXPERIMENTS = {yaml.safe_load(path.read_text())["name"]: path.stem for path in FILES}


def as_recorded(level: str) -> str:
    """A level as the tables have it: a number in its shortest form, text without quotes."""
    try:
        return str(float(level))
    except ValueError:
        return level.strip('"')


def arms_of(predicate: Predicate) -> list[dict[str, str]]:
    return [dict(value) for key, value in vars(predicate).items() if key in ("better", "worse", "one", "other", "arm")]


def test_there_are_enough_and_each_has_a_source() -> None:
    assert len(CLAIMS) >= 24
    assert [claim.id for claim in CLAIMS] == [f"F{number:02d}" for number in range(1, len(CLAIMS) + 1)]
    assert [claim.id for claim in CLAIMS if "(" not in claim.reported and " report" not in claim.reported] == []


def test_each_experiment_has_a_claim_and_the_name_of_its_file() -> None:
    assert {experiment for claim in CLAIMS for experiment in claim.experiments} == {*EXPERIMENTS}
    assert {name: f"field_{stem}" for name, stem in EXPERIMENTS.items()} == {name: name for name in EXPERIMENTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_the_arms_that_its_claims_name(name: str) -> None:
    sweep = expand_sweep([f"experiment=field/{EXPERIMENTS[name]}", "seed=0"])
    assert {job.cfg.name for job in sweep.jobs} == {name}
    levels = [job.levels(sweep.factors) for job in sweep.jobs]
    trained = [{key: as_recorded(value) for key, value in arm.items()} for arm in levels]
    tests = [test for claim in CLAIMS for test in claim.all_of if test.experiment == name]
    named = [arm for test in tests for arm in arms_of(test)]
    assert named
    for arm in named:
        assert any(arm.items() <= levels.items() for levels in trained), (arm, trained)


def test_claims_that_contradict_each_other_come_in_pairs() -> None:
    """A difference that is claimed in both directions, or denied: whatever is true, one of the two is wrong."""

    def sides(claim: Claim) -> frozenset[str]:
        return frozenset(str(arm) for predicate in claim.all_of for arm in arms_of(predicate))

    found = {claim.id: (sides(claim), claim.experiments) for claim in CLAIMS}
    pairs = {(a, b) for a in found for b in found if a < b and found[a] == found[b]}
    assert pairs >= {
        ("F01", "F02"), ("F04", "F05"), ("F06", "F07"), ("F10", "F11"), ("F13", "F14"), ("F15", "F16"), ("F20", "F21"),
    }  # fmt: skip
