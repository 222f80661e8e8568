"""What a reader who is no statistician is told of a verdict. Each label of a contrast is one line of a table."""

import math
import re

import pytest

from lmablate.config.schema import CONF
from lmablate.evidence import Kind, Verdict, judge_claims, load_claims
from lmablate.results.report.plain_words import MARKS, label_in_words, part_mark, plain_sentence
from lmablate.results.report.study import Study
from tests.evidence.helpers import Runs, claim_of, verdict_on
from tests.evidence.predicate_scenes import effects, faster_by, predicate
from tests.tiny import ROOT

LABELS = [
    ("val/loss is lower with model/pos=rope than with model/pos=nope", "the final validation loss is lower with RoPE"),
    (
        "mean of val/loss (10%-40%) is lower with a=b than with a=c",
        "the mean validation loss (10 % to 40 % of training)",
    ),
    (
        "log sd of grad_norm (after_warmup) is lower with a=b",
        "the standard deviation of the gradient norm (after warm-up)",
    ),
    ("log first of grad_norm is lower with model/tying=true", "the first gradient norm is lower with tied"),
    ("spikes of train/loss (warmup) is lower with a=b", "the share of spikes in the training loss (during warm-up)"),
    (
        "position_loss/4x \u2212 position_loss/1x is below 0.05 with a=b",
        "loss at the window's end, window in contexts 4",
    ),
    ("dead_units/layer_{i} is above 0.01 with model/act=relu", "the share of dead MLP units is above 0.01 with ReLU"),
    ("dead_units/layer_3 is above 0.01 with model/act=relu", "the final share of dead MLP units, layer 3 is above"),
    ("mean of clipped (50%-100%) is below 0.5 with a=b", "the mean share of clipped steps (50 % to 100 % of training)"),
    ("peak_step of grad_norm rises by 1 per unit of optim.warmup_steps", "rises by 1 per unit of warm-up steps"),
    (
        "rise_step of grad_norm is the same with a=b",
        "step of the peak after the first fall of the gradient norm",
    ),
    (
        "log change since step 0 of residual/branch_ratio_mlp/layer_{i} falls from",
        "the change since step 0 of the size of what the MLP adds, over that of the stream, falls from",
    ),
    ("change since step 0 of val/loss is above 0", "the change since step 0 of the validation loss is above"),
    (
        "the highest optim.lr within 0.1 of the best val/loss is higher with a=b than with a=c (decades)",
        "the highest learning rate within 0.1 of the best validation loss is higher with a=b than with a=c",
    ),
    (
        "val/loss is lower with loss=z than with loss=ce",
        "the final validation loss is lower with z-loss than with cross-entropy",
    ),
    ("train/loss is lower with optim=muon than with optim=adamw", "training loss is lower with Muon than with AdamW"),
    ("val/loss is lower with schedule=wsd", "the final validation loss is lower with warm-up, stable, decay"),
    ("my/metric is lower with mine=yes than with mine=no", "the my/metric is lower with mine=yes than with mine=no"),
    ("val/lossy is lower with a=1e-3", "the val/lossy is lower with"),
    ("val/loss is lower with a=b (experiment on_a_b)", "(experiment on a b)"),
]


@pytest.mark.parametrize(("label", "words"), LABELS)
def test_a_label_is_put_into_words(label: str, words: str) -> None:
    assert words in label_in_words(label)


def judged(exports: str, claims: str) -> list[Verdict]:
    return judge_claims(load_claims(CONF / claims), Study.load(ROOT / exports).run_table)


@pytest.fixture(scope="module")
def committed() -> list[Verdict]:
    """The verdicts of the committed study."""
    return judged("analysis/exports", "claim")


def check(verdict: Verdict) -> None:
    sentence = plain_sentence(verdict)
    if verdict.kind is Kind.NOT_RUN:
        assert sentence == verdict.sentence
        return
    assert not re.search(r"model/|optim\.|[a-z]_[a-z]|\{i\}|val/|train/", sentence), sentence
    assert sentence.startswith(("The opposite was seen", "It is not so")) == (verdict.kind is Kind.REFUTED)
    assert sentence.startswith("Seen in") == (verdict.kind is Kind.SUPPORTED)
    if verdict.kind is Kind.UNDERPOWERED and verdict.seeds_needed:
        sure = "it would be decided with a chance of 80 %"
        assert f"With about {verdict.seeds_needed:,} seeds in all, {sure}" in sentence
    if verdict.kind is Kind.UNDERPOWERED and verdict.low < 0 < verdict.high:
        reasons = ("may go either way", "counts as the same", "neither a difference nor that there is none")
        assert any(reason in sentence for reason in reasons)


def test_the_sentences_of_the_study_have_no_key_and_say_what_was_decided(committed: list[Verdict]) -> None:
    kinds = {verdict.kind for verdict in committed}
    assert kinds >= {Kind.SUPPORTED, Kind.REFUTED, Kind.UNDERPOWERED}
    for verdict in committed:
        check(verdict)


@pytest.mark.parametrize(
    ("part", "claims"), [("field", "claim/field"), ("second", "claim/again"), ("ladder", "claim/ladder")]
)
def test_the_sentences_of_the_further_parts_do_so_too(part: str, claims: str) -> None:
    for verdict in judged(f"analysis/{part}/exports", claims):
        check(verdict)


def test_the_sentences_of_simulated_studies_do_so_too(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        check(verdict)


def test_the_parts_of_a_claim_have_marks_and_are_never_surer_than_among_the_claims(committed: list[Verdict]) -> None:
    for verdict in committed:
        assert {part_mark(part) for part in verdict.parts} <= {*MARKS.values()}
        if len(verdict.parts) == 1:
            assert verdict.parts[0].p_adjusted >= verdict.p_adjusted


def test_an_open_claim_says_which_of_its_parts_are_decided(committed: list[Verdict]) -> None:
    (collapse,) = [verdict for verdict in committed if verdict.claim.id == "C06"]
    assert collapse.kind is Kind.UNDERPOWERED
    assert "All 4 parts are needed. The one with the least support is whether" in plain_sentence(collapse)
    assert "Of its 4 parts, already decided: 2 shown." in plain_sentence(collapse)
    assert "Of its 4 parts 2 are shown." in collapse.sentence


def test_seeds_that_all_saw_the_same_are_said_to_rule_out_little() -> None:
    runs = Runs()
    for seed in range(10):
        runs.add("e", seed, {"arm": "a"})("dead_units/layer_0", [0.0], [400])
    options = {"metric": "dead_units/layer_{i}", "arm": {"arm": "a"}, "constant": 0.01, "margin": 0.0}
    dead = verdict_on(predicate("greater_than", **options), runs)
    assert dead.kind is Kind.UNDERPOWERED
    assert "Another value may still occur in up to 26% of seeds" in plain_sentence(dead)
    assert "another one may still occur in up to 26% of seeds" in dead.sentence


def test_a_claim_with_a_negligible_part_fails_and_names_the_part() -> None:
    runs = Runs()
    for seed, noise in enumerate((0.01, -0.01, 0.02, 0.0, -0.02, 0.01, 0.0, -0.01)):
        for arm, loss in (("a", 3.0), ("b", 3.1 + noise), ("c", 4.0 + noise)):
            runs.add("e", seed, {"arm": arm})("val/loss", [loss])
    parts = [predicate("lower", better={"arm": "a"}, worse={"arm": arm}, margin=0.5) for arm in "bc"]
    (verdict,) = judge_claims([claim_of(*parts)], runs.run_table)
    assert verdict.kind is Kind.PART_NEGLIGIBLE
    assert "one of its 2 parts is negligible" in verdict.sentence
    sentence = plain_sentence(verdict)
    assert sentence.startswith("The claim needs both of its parts, and one makes a difference too small")
    assert "Less than 0.500 was to count as none, even if it is real." in sentence


def test_a_speed_up_is_a_factor_of_flops() -> None:
    runs = Runs()
    verdict = verdict_on(faster_by(runs, effects(20, 1, 8)), runs)
    sentence = plain_sentence(verdict)
    assert "the FLOPs to validation loss of arm=b are fewer with arm=a" in sentence
    assert f"The difference is a factor of {math.exp(0.2):.2f}" in sentence
    assert "nats" not in sentence
