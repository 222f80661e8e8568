"""The probability of a verdict is as often right as it says, and grows with the seeds where there is an effect."""

import numpy as np
import pytest

from lmablate.evidence import Difference, Equality, RankedSample, Sample, SkewedSample
from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.planning import seeds_for_verdict, verdict_probability
from lmablate.evidence.rule import Kind, decide
from tests.evidence.helpers import sample_with

LEVEL = 0.05


def claim(values: np.ndarray) -> list[Contrast]:
    return [Difference("x", Sample.of(part), 0.2, ()) for part in values]


@pytest.mark.parametrize("parts", [1, 3])
def test_of_the_verdicts_that_are_predicted_as_many_come_as_were_predicted(parts):
    """Effects from a wide distribution, four seeds that predict, twelve more that decide; parts share noise."""
    rng = np.random.default_rng(parts)
    predicted, came = [], []
    for _ in range(500):
        shared, own = rng.normal(size=(1, 16)), rng.normal(size=(parts, 16))
        values = rng.normal(0, 2, (parts, 1)) + (shared + own) / np.sqrt(2)
        predicted.append(verdict_probability(claim(values[:, :4]), 16, LEVEL, draws=100))
        came.append(decide([claim(values)], LEVEL)[0].kind != Kind.UNDERPOWERED)
    probability, verdict = np.array(predicted, dtype=float), np.array(came)
    for chosen in (probability < 0.6, probability >= 0.6):
        error = 3 * np.sqrt(0.25 / chosen.sum())
        assert abs(probability[chosen].mean() - verdict[chosen].mean()) < max(0.06, error), chosen.sum()


def test_more_seeds_make_a_verdict_likelier_and_the_number_needed_is_where_it_is_likely():
    contrasts: list[Contrast] = [Difference("x", sample_with(1.0, 0.9, 4), 0.0, ())]
    chances = [verdict_probability(contrasts, n, 0.0025, draws=2000) or 0.0 for n in (8, 16, 64)]
    assert 0 < chances[0] < chances[1] < chances[2]
    needed = seeds_for_verdict(contrasts, 0.0025)
    assert needed is not None
    at_needed = verdict_probability(contrasts, needed, 0.0025, draws=4000)
    assert at_needed is not None
    assert at_needed > 0.76


def test_a_part_that_is_refuted_decides_though_another_is_near_its_margin():
    """The largest number over the parts would be asked for a part that no longer matters."""
    clear, narrow = (Difference("x", sample_with(*known, 4), 0.01, ()) for known in ((-1, 0.2), (0.0101, 0.1)))
    alone = seeds_for_verdict([narrow], 0.0025)
    together = seeds_for_verdict([clear, narrow], 0.0025)
    assert together is not None
    assert together <= 8
    assert alone is None or alone > 100


def test_an_effect_at_its_margin_needs_more_seeds_than_there_are():
    assert seeds_for_verdict([Equality("x", sample_with(0.5, 0.5, 8), 0.5, ())], 0.0025) is None


@pytest.mark.parametrize(
    "sample", [Sample.of([0.3]), Sample.of([0.0] * 5), RankedSample((1.0, np.inf, 2.0))], ids=["one", "same", "ranks"]
)
def test_without_a_spread_nothing_is_predicted(sample):
    assert verdict_probability([Difference("x", sample, 0.0, ())], 16, LEVEL) is None
    assert seeds_for_verdict([Difference("x", sample, 0.0, ())], LEVEL) is None


def test_a_skewed_reading_needs_more_seeds():
    plain, skewed = (kind.of(sample_with(1.0, 0.7, 6).values) for kind in (Sample, SkewedSample))
    few, many = (verdict_probability([Difference("x", s, 0.0, ())], 12, 0.0025, draws=1000) for s in (plain, skewed))
    assert few is not None
    assert many is not None
    assert few > many
