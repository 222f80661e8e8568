"""The report's claims load and are judged by what their texts say; a broken claim is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lmablate.errors import UserError
from lmablate.evidence import PREDICATES, Claim, Kind, judge_claims, load_claim, load_claims
from lmablate.evidence.claims import MOST_BYTES, predicate_schema
from tests.evidence.helpers import run_table
from tests.evidence.simulated_study import SimulatedStudy

FOLDER = Path(__file__).parents[2] / "conf" / "claim"

VALID: dict[str, Any] = {
    "id": "C1",
    "text": "t",
    "reported": "r",
    "question": "q",
    "experiment": "e",
    "metric": "val/loss",
    "margin": 0.01,
    "all_of": [
        {"predicate": "lower", "better": {"model/pos": "rope"}, "worse": {"model/pos": "sin"}},
        {"predicate": "less_than", "arm": {"arm": "a"}, "constant": 1, "metric": "grad_norm", "margin": 0},
    ],
}


@pytest.fixture(scope="module")
def claims() -> list[Claim]:
    return load_claims(FOLDER)


def write(folder: Path, claim: object, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(claim if isinstance(claim, str) else yaml.safe_dump(claim))
    return path


def test_all_twenty_claims_of_the_report_are_there(claims):
    assert [claim.id for claim in claims] == [f"C{i:02d}" for i in range(1, 21)]


def test_file_names_begin_with_the_claims_id():
    for path in FOLDER.glob("*.yaml"):
        assert path.stem.startswith(load_claim(path).id + "_")


def test_where_the_report_is_right_every_claim_is_supported(claims):
    verdicts = judge_claims(claims, SimulatedStudy(truth=1).run_table)
    assert {v.claim.id: v.sentence for v in verdicts if v.kind != Kind.SUPPORTED} == {}


def test_where_the_report_is_wrong_every_claim_is_refuted(claims):
    verdicts = judge_claims(claims, SimulatedStudy(truth=-1).run_table)
    assert {v.claim.id: v.sentence for v in verdicts if v.kind != Kind.REFUTED} == {}


def test_where_no_arm_differs_no_difference_is_supported_or_refuted(claims):
    verdicts = judge_claims(claims, SimulatedStudy(truth=0).run_table)
    decided = {v.claim.id for v in verdicts if v.kind in (Kind.SUPPORTED, Kind.REFUTED)}
    # These two do not compare arms, and are false here: no peak follows the warm-up, no arm extrapolates.
    assert decided == {"C03", "C12"}
    assert any(v.kind == Kind.EQUIVALENT for v in verdicts)


def test_without_runs_every_claim_is_not_run(claims):
    study = SimulatedStudy(truth=0)
    table, facts = study.table.assign(experiment="other"), study.facts.assign(experiment="other")
    assert {v.kind for v in judge_claims(claims, run_table(table, facts))} == {Kind.NOT_RUN}


def test_a_test_takes_what_it_does_not_name_from_its_claim(tmp_path):
    lower, less_than = load_claim(write(tmp_path, VALID)).all_of
    assert (lower.experiment, lower.metric, lower.margin) == ("e", "val/loss", 0.01)
    assert (less_than.experiment, less_than.metric, less_than.margin) == ("e", "grad_norm", 0)


def change(**keys: object) -> dict[str, object]:
    """The valid claim with other keys; None removes one."""
    return {key: value for key, value in (VALID | keys).items() if value is not None}


def with_test(**keys: object) -> dict[str, object]:
    """The valid claim with only its first predicate, whose keys are changed."""
    return change(all_of=[VALID["all_of"][0] | keys])


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (change(marign=1), r"unknown key 'marign': allowed are id, text"),
        (change(text=None), r"'text' is a required property"),
        (change(margin=-1), r"margin: -1 is less than the minimum"),
        (change(margin="much"), r"margin: 'much' is not of type 'number'"),
        (change(id="first"), r"id: 'first' does not match"),
        (change(all_of=[]), r"all_of: \[\] should be non-empty"),
        (change(all_of=[{"metric": "x"}]), r"'predicate' is a required property"),
        (with_test(predicate="best"), r"all_of\[0\]: predicate=best is not allowed.*lowest_of"),
        (with_test(than={}), r"all_of\[0\] \(lower\): unknown key 'than': allowed are experiment, metric"),
        (with_test(better={}), r"better: \{\} should be non-empty"),
        (with_test(better={"arm": ["a"]}), r"better: arm: \['a'\] is not of type"),
        (with_test(during=[0, 2]), r"during"),
        (with_test(reduce="median"), r"reduce: 'median' is not one of"),
        (with_test(predicate="equal"), r"unknown key 'better'"),
        ([1], r"\[1\] is not of type 'object'"),
        ("a: [", r"not valid YAML"),
        ("a: &x [1]\nb: *x", r"aliases .* are not allowed"),
        ("text: " + "x" * MOST_BYTES, r"at most 65536 bytes"),
    ],
)
def test_a_broken_claim_is_refused_in_one_sentence(tmp_path, claim, message):
    path = write(tmp_path, claim)
    with pytest.raises(UserError, match=message) as error:
        load_claim(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_an_equality_must_say_how_equal(tmp_path):
    test = {"predicate": "equal", "one": {"arm": "a"}, "other": {"arm": "b"}}
    with pytest.raises(UserError, match="'margin' is a required property"):
        load_claim(write(tmp_path, change(margin=None, all_of=[test])))


def test_what_a_predicate_fixes_no_yaml_may_set():
    assert "reduce" not in predicate_schema(PREDICATES["flatter_late"])["properties"]
    assert "during" not in predicate_schema(PREDICATES["diverges_over_time"])["properties"]


def test_an_id_may_be_taken_once(tmp_path):
    write(tmp_path, VALID, "a.yaml")
    write(tmp_path, VALID, "b.yaml")
    with pytest.raises(UserError, match=r"b\.yaml: id C1 is already taken"):
        load_claims(tmp_path)


def test_claims_come_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 9, 1):
        write(tmp_path, change(id=f"C{i}"), f"{i}.yaml")
    assert [claim.id for claim in load_claims(tmp_path)] == ["C1", "C9", "C10"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="no folder of claims"):
        load_claims(tmp_path / "none")
