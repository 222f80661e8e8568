"""The report's claims load and are judged by what their texts say; a broken claim is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lmablate.errors import UserError
from lmablate.evidence import PREDICATES, Claim, Kind, judge_claims, load_claim, load_claims
from lmablate.evidence.claims import predicate_keys
from lmablate.files import YAML_LIMIT
from tests.evidence.helpers import Runs, run_table
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


def one_test(**keys: object) -> dict[str, object]:
    """The valid claim with one predicate, which has these keys."""
    return change(all_of=[keys])


def typed(margin: str) -> str:
    """The valid claim with a margin as it is typed."""
    return yaml.safe_dump(change(margin=None)) + f"margin: {margin}\n"


@pytest.mark.parametrize(
    ("margin", "number"),
    [
        ("0.01", 0.01), ("1e-3", 1e-3), ("1E-3", 1e-3), ("1e+3", 1e3), ("1E5", 1e5), ("1.e-3", 1e-3), (".5", 0.5),
        ("5.", 5.0), ("1_000", 1e3), ("0", 0.0), ("+0.5", 0.5), ('"0.01"', 0.01), ("'1e-3'", 1e-3), ("5e-05", 5e-5),
        ("0.01  # 1 % in perplexity", 0.01),
    ],
)  # fmt: skip
def test_a_number_may_be_typed_as_people_type_numbers(tmp_path, margin, number):
    assert load_claim(write(tmp_path, typed(margin))).all_of[0].margin == number


@pytest.mark.parametrize(
    "margin",
    [
        "010", "00.5", "0o17", "0x1F", "1:30", "1,5", "1_", "_1", "1__0", "1e", "e5", ".", "+", "-1", "-1e-3", ".inf",
        "inf", "1e999", ".nan", "nan", "yes", "on", "off", "true", "null", "~", '""', "", "2024-11-25", "0.01 nats",
        "1 000", "１", "٣", "½", "1e-3f", "[0.01]", "{a: 1}", "!!float abc", "ten", "1/100", "1%",
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_key_and_value(tmp_path, margin):
    path = write(tmp_path, typed(margin))
    with pytest.raises(UserError, match=r": claim C1: margin=.* is not allowed: it must be a number of at least 0"):
        load_claim(path)


@pytest.mark.parametrize(
    "level",
    [
        "yes", "no", "on", "off", "y", "True", "true", "null", "~", "None", "nan", "NA", "010", "0o17", "0x1F", "1:30",
        "1_000", "2024-11-25", "1e-3", ".5", "Infinity", "=", "ä", "模型", "a b", "a=b", "$x$", "_x",
    ],
)  # fmt: skip
def test_a_level_is_the_text_that_was_typed(tmp_path, level):
    """It finds the arm of this name, and no other."""
    names = {level, "0", "1", "8", "15", "90", "1000", "false", "x"}
    runs = Runs()
    for seed in range(3):
        for name in names:
            runs.add("e", seed, {"arm": name})("val/loss", [1.0 if name == level else 2.0], [9])
    all_of = [{"predicate": "less_than", "arm": {"arm": "LEVEL"}, "constant": 1.5, "metric": "val/loss", "margin": 0}]
    claim = load_claim(write(tmp_path, yaml.safe_dump(change(all_of=all_of)).replace("LEVEL", level)))
    (verdict,) = judge_claims([claim], runs.run_table)
    assert (verdict.n, verdict.effect) == (3, 0.5)


CLAIM = r"claim C1: "
LOWER = r"claim C1: all_of\[0\] \(lower\): "


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        # keys
        (change(marign=1), CLAIM + r"unknown key 'marign' \(did you mean margin\?\): allowed are id, text"),
        (with_test(than={}), LOWER + r"unknown key 'than': allowed are experiment, metric"),
        (with_test(predicate="equal"), r"unknown key 'better'"),
        (change(text=None), CLAIM + r"text is missing: it must be text"),
        (change(all_of=None), CLAIM + r"all_of is missing"),
        ({"predicate": "lower"}, r"unknown key 'predicate'"),
        ("id: C1\nid: C2", r"not valid YAML: key 'id' is given twice"),
        ("all_of: [{a: 1, a: 2}]", r"key 'a' is given twice"),
        ("? [a, b]\n: c", r"not valid YAML"),
        ("<<: {id: C1}", r"unknown key '<<'"),
        ("'': x", r"unknown key ''"),
        # values
        (change(id="first"), r"c\.yaml: id=first is not allowed: it must be capital letters and then digits"),
        (change(id="C1\n"), r"id=C1 is not allowed"),
        (change(id="C1/../x"), r"id=C1/\.\./x is not allowed"),
        (change(id="C" + "1" * 99), r"id=C1+\.\.\. is not allowed"),
        (change(id="C１"), r"id=C１ is not allowed"),
        (change(id=7), r"id=7 is not allowed"),
        (change(text=""), CLAIM + r"text=nothing is not allowed"),
        (change(text="\x1b[31mred"), CLAIM + r"text=.* must be text that is not empty, without control characters"),
        (change(reported="a\x00b"), CLAIM + r"reported=.* without control characters"),
        (change(question="tab\there"), CLAIM + r"question=.* without control characters"),
        (change(text=["a"]), CLAIM + r"text=\['a'\] is not allowed"),
        (change(question="  "), CLAIM + r"question= *is not allowed"),
        (change(experiment={"a": "b"}), CLAIM + r"experiment=.* is not allowed: it must be text"),
        (change(note={}), CLAIM + r"note=\{\} is not allowed"),
        (change(metric="a/{i}/{i}"), CLAIM + r"metric=a/\{i\}/\{i\} is not allowed"),
        # lists of predicates
        (change(all_of=[]), CLAIM + r"all_of=\[\] is not allowed: it must be a list of predicates"),
        (change(all_of={"predicate": "lower"}), CLAIM + r"all_of=\{'predicate': 'lower'\} is not allowed"),
        (change(all_of=["lower"]), CLAIM + r"all_of=\['lower'\] is not allowed"),
        (change(all_of="lower"), CLAIM + r"all_of=lower is not allowed"),
        (change(all_of=[{"metric": "x"}]), r"all_of\[0\]: predicate=nothing is not allowed: .* lowest_of"),
        (with_test(predicate="best"), r"all_of\[0\]: predicate=best is not allowed.*lowest_of"),
        (with_test(predicate=["lower"]), r"predicate=\['lower'\] is not allowed"),
        # fields of a predicate
        (with_test(margin="much"), LOWER + r"margin=much is not allowed: it must be a number of at least 0"),
        (with_test(better={}), LOWER + r"better=\{\} is not allowed: it must be factors with their values"),
        (with_test(better="rope"), LOWER + r"better=rope is not allowed"),
        (with_test(better={"arm": ["a"]}), LOWER + r"better=\{'arm': \['a'\]\} is not allowed"),
        (with_test(better={"arm": ""}), LOWER + r"better=\{'arm': ''\} is not allowed"),
        (with_test(during=[0, 2]), LOWER + r"during=\['0', '2'\] is not allowed: it must be warmup, after_warmup, or"),
        (with_test(during=[0.5, 0.2]), LOWER + r"during=.* with 0 <= from < to <= 1"),
        (with_test(during=[0.5]), LOWER + r"during"),
        (with_test(during=[0, 0.5, 1]), LOWER + r"during"),
        (with_test(during="late"), LOWER + r"during=late"),
        (with_test(during=["a", "b"]), LOWER + r"during"),
        (with_test(reduce="median"), LOWER + r"reduce=median is not allowed: it must be one of first, last"),
        (with_test(transform="exp"), LOWER + r"transform=exp .* one of identity, log"),
        (with_test(metric="{i}{i}"), LOWER + r"metric=\{i\}\{i\} .* may stand once"),
        (with_test(since_start="yes"), LOWER + r"since_start=yes is not allowed: it must be true or false"),
        (with_test(minus=""), LOWER + r"minus=nothing"),
        (one_test(predicate="lowest_of", arm={"a": "b"}, others=[]), r"\(lowest_of\): others=\[\] is not allowed"),
        (one_test(predicate="lowest_of", arm={"a": "b"}, others={"a": "c"}), r"others=.* it must be a list of factors"),
        (one_test(predicate="less_than", arm={"a": "b"}, constant="inf"), r"constant=inf .* a finite number"),
        (one_test(predicate="less_than", arm={"a": "b"}, constant="1:30"), r"constant=1:30 .* a finite number"),
        (
            one_test(predicate="greater_than", arm={"a": "b"}, constant=-1, transform="log"),
            r"constant=-1 is not allowed: with transform=log it must be above 0",
        ),
        (
            one_test(predicate="diverges_over_time", better={"a": "b"}, worse={"a": "c"}, until=1.5, margin=1),
            r"until=1\.5 is not allowed: it must be a number from 0 to 1",
        ),
        (
            one_test(predicate="takes_higher_lr", better={"a": "b"}, worse={"a": "c"}, within=0),
            r"within=0 is not allowed: it must be above 0",
        ),
        (one_test(predicate="trend_with_depth", arm={"a": "b"}, direction="up"), r"direction=up .* of rises, falls"),
        (change(margin=None, all_of=[{"predicate": "equal", "one": {"a": "b"}, "other": {"a": "c"}}]), r"margin is m"),
        # files
        ([1], r"a claim has the keys id, text, .*; this has \['1'\]"),
        ("", r"a claim has the keys .*; this has nothing"),
        ("# a comment\n", r"this has nothing"),
        ("just words", r"this has just words"),
        ("a: [", r"not valid YAML"),
        ("a: b: c", r"not valid YAML"),
        ("\tid: C1", r"not valid YAML"),
        ("id: C1\n---\nid: C2", r"not valid YAML"),
        ("id: 'C1", r"not valid YAML"),
        ("text: \0", r"not valid YAML"),
        ("a: &x [1]\nb: *x", r"aliases .* are not allowed"),
        ("[" * 5000, r"not valid YAML"),
        ("text: " + "x" * YAML_LIMIT, r"at most 65536 bytes"),
    ],
)  # fmt: skip
def test_a_broken_claim_is_refused_in_one_sentence(tmp_path, claim, message):
    path = write(tmp_path, claim)
    with pytest.raises(UserError, match=message) as error:
        load_claim(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_a_predicate_fixes_no_yaml_may_set():
    assert "reduce" not in predicate_keys(PREDICATES["flatter_late"])[0]
    assert "during" not in predicate_keys(PREDICATES["diverges_over_time"])[0]


def test_an_id_may_be_taken_once(tmp_path):
    write(tmp_path, VALID, "a.yaml")
    write(tmp_path, VALID, "b.yaml")
    with pytest.raises(UserError, match=r"b\.yaml: id=C1 is taken already, by .*a\.yaml"):
        load_claims(tmp_path)


def test_claims_come_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 9, 1):
        write(tmp_path, change(id=f"C{i}"), f"{i}.yaml")
    assert [claim.id for claim in load_claims(tmp_path)] == ["C1", "C9", "C10"]


def test_files_of_both_endings_are_claims_and_hidden_ones_are_not(tmp_path):
    write(tmp_path, change(id="C1"), "C1.yaml")
    write(tmp_path, change(id="C2"), "C2.yml")
    for name in (".C1.yaml", "._C1.yaml", ".#C1.yaml", "C1.yaml~", "C1.yaml.bak", "notes.txt"):
        write(tmp_path, "not a claim", name)
    assert [claim.id for claim in load_claims(tmp_path)] == ["C1", "C2"]


def test_a_folder_without_claims_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="holds no claim"):
        load_claims(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="no folder of claims"):
        load_claims(tmp_path / "none")
