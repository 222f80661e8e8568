"""What a reader who is no statistician is told of a verdict. Each label of a contrast is one line of a table."""

import re

import pytest

from lmablate.config.schema import CONF
from lmablate.evidence import Kind, Verdict, judge_claims, load_claims
from lmablate.results.report.plain_words import MARKS, label_in_words, part_mark, plain_sentence
from lmablate.results.report.study import Study
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
        "val/loss is lower with loss=z than with loss=ce",
        "the final validation loss is lower with z-loss than with cross-entropy",
    ),
    ("train/loss is lower with optim=muon than with optim=adamw", "training loss is lower with Muon than with AdamW"),
    ("val/loss is lower with schedule=wsd", "the final validation loss is lower with warm-up, stable, decay"),
    ("my/metric is lower with mine=yes than with mine=no", "the my/metric is lower with mine=yes than with mine=no"),
    ("val/lossy is lower with a=1e-3", "the val/lossy is lower with"),
]


@pytest.mark.parametrize(("label", "words"), LABELS)
def test_a_label_is_put_into_words(label: str, words: str) -> None:
    assert words in label_in_words(label)


@pytest.fixture(scope="module")
def committed() -> list[Verdict]:
    """The verdicts of the committed study."""
    study = Study.load(ROOT / "analysis" / "exports")
    return judge_claims(load_claims(CONF / "claim"), study.run_table)


def check(verdict: Verdict) -> None:
    sentence = plain_sentence(verdict)
    if verdict.kind is Kind.NOT_RUN:
        assert sentence == verdict.sentence
        return
    assert not re.search(r"model/|optim\.|[a-z]_[a-z]|\{i\}|val/|train/", sentence), sentence
    assert ("opposite" in sentence) == (verdict.kind is Kind.REFUTED)
    assert sentence.startswith("Seen in") == (verdict.kind is Kind.SUPPORTED)
    if verdict.kind is Kind.UNDERPOWERED and verdict.seeds_needed and verdict.seeds_needed > verdict.n:
        assert f"About {verdict.seeds_needed:,} seeds would decide it; there are {verdict.n}." in sentence
    if verdict.kind is Kind.UNDERPOWERED and verdict.low < 0 < verdict.high:
        assert "may go either way" in sentence or "would count as the same" in sentence


def test_the_sentences_of_the_study_have_no_key_and_say_what_was_decided(committed: list[Verdict]) -> None:
    assert {verdict.kind for verdict in committed} >= {Kind.SUPPORTED, Kind.REFUTED, Kind.EQUIVALENT, Kind.UNDERPOWERED}
    for verdict in committed:
        check(verdict)


def test_the_sentences_of_simulated_studies_do_so_too(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        check(verdict)


def test_the_marks_of_the_parts_are_those_of_claims_alone(committed: list[Verdict]) -> None:
    for verdict in committed:
        kinds = {part_mark(contrast)[0] for contrast in verdict.contrasts}
        assert kinds <= MARKS.keys()
        if verdict.kind is Kind.SUPPORTED:
            assert kinds == {Kind.SUPPORTED}
