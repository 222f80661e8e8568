"""Effects of a factorial design agree with statsmodels, and intervals and error rates are what they say."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from lmablate.config.designs import parse_design
from lmablate.errors import UserError
from lmablate.evidence.factorial import Factorial, analyse_factorial

NAMES = "ABDEF"  # C means something else in a formula


def arms(factors: int, fraction: int = 1) -> list[dict[str, str]]:
    return parse_design({"factors": {n: ["lo", "hi"] for n in NAMES[:factors]}, "fraction": fraction}, "here").arms()


def simulate(rows: list[dict[str, str]], seeds: int, draw: np.random.Generator, **effects: float) -> pd.DataFrame:
    """Readings with these true effects (A is a main effect, AB an interaction), and noise of 0.1 beside the seed's."""
    block = draw.normal(0, 0.5, seeds)
    table = []
    for row, seed in itertools.product(rows, range(seeds)):
        signs = {name: 1 if level == "hi" else -1 for name, level in row.items()}
        value = sum(size / 2 * np.prod([signs[letter] for letter in term]) for term, size in effects.items())
        table.append({**row, "seed": seed, "value": value + block[seed] + draw.normal(0, 0.1)})
    return pd.DataFrame(table)


def by_term(found: Factorial) -> dict[str, float]:
    return {effect.term.replace(" x ", ""): effect.value for effect in [*found.main, *found.interactions]}


def test_effects_without_noise_are_exact() -> None:
    readings = simulate(arms(3), 2, np.random.default_rng(0), A=1.0, B=-0.5, AD=0.25)
    readings["value"] = sum(
        size / 2 * np.prod([2 * readings[letter].eq("hi") - 1 for letter in term], axis=0)
        for term, size in {"A": 1.0, "B": -0.5, "AD": 0.25}.items()
    )
    found = analyse_factorial(readings)
    assert by_term(found) == pytest.approx({"A": 1.0, "B": -0.5, "D": 0, "AB": 0, "AD": 0.25, "BD": 0}, abs=1e-12)
    squares = {"A": 1, "B": 0.25, "D": 0, "A x B": 0, "A x D": 0.0625, "B x D": 0, "rest": 0}
    shares = {share.term: share.share for share in found.shares}
    assert shares == pytest.approx({term: square / 1.3125 for term, square in squares.items()}, abs=1e-12)


@pytest.mark.parametrize(("factors", "fraction"), [(3, 1), (5, 2)])
def test_statsmodels_finds_the_same_effects_errors_and_p_values(factors: int, fraction: int) -> None:
    readings = simulate(arms(factors, fraction), 3, np.random.default_rng(1), A=0.3, B=0.1, AB=0.05)
    coded = readings.assign(**{n: readings[n].eq("hi") - 0.5 for n in NAMES[:factors]})
    formula = "value ~ C(seed) + (" + " + ".join(NAMES[:factors]) + ")**2"
    reference = smf.ols(formula, coded).fit(cov_type="HC2", use_t=True)
    found = analyse_factorial(readings)
    for effect in [*found.main, *found.interactions]:
        key = effect.term.replace(" x ", ":")
        scale = 2 if ":" in key else 1  # half the difference of differences
        assert effect.value == pytest.approx(reference.params[key] / scale)
        assert effect.error == pytest.approx(reference.bse[key] / scale)
        assert effect.p == pytest.approx(reference.pvalues[key])
        assert effect.interval == pytest.approx(tuple(reference.conf_int().loc[key] / scale))
    assert found.residual == pytest.approx(np.sqrt(reference.scale))


@pytest.mark.slow
def test_intervals_cover_and_a_design_without_effects_has_few_discoveries() -> None:
    """A share is above 0 with certainty only if there is an effect."""
    draw, hits, covered, certain, right, trials = np.random.default_rng(2), 0, 0, 0, 0, 300
    true = {"A": 0.2, "B": 0.1}
    for _ in range(trials):
        found = analyse_factorial(simulate(arms(5, 2), 2, draw, **true))
        hits += any(effect.adjusted <= 0.05 for effect in found.main if effect.term not in true)
        covered += sum(e.interval[0] <= true.get(e.term, 0) <= e.interval[1] for e in found.main)
        certain += sum(share.interval[0] > 0 for share in found.shares if share.term not in (*true, "rest"))
        right += next(share.interval[0] <= 0.8 <= share.interval[1] for share in found.shares if share.term == "A")
    assert hits / trials <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / trials)
    assert certain / (13 * trials) <= 0.025
    assert right / trials >= 0.93
    assert 0.93 <= covered / (5 * trials) <= 0.97


@pytest.mark.parametrize(
    ("factors", "fraction", "saturated"), [(2, 1, False), (3, 1, False), (4, 1, False), (3, 2, True), (5, 2, True)]
)
def test_a_fraction_just_large_enough_for_its_effects_is_known(factors: int, fraction: int, saturated: bool) -> None:
    readings = simulate(arms(factors, fraction), 2, np.random.default_rng(5), A=1.0)
    assert analyse_factorial(readings).is_saturated == saturated


@pytest.mark.parametrize(("factors", "fraction", "rest"), [(5, 2, 0), (4, 1, 5 / 15)])
def test_one_odd_arm_looks_like_all_effects_and_only_a_whole_design_has_a_rest(
    factors: int, fraction: int, rest: float
) -> None:
    rows = arms(factors, fraction)
    readings = simulate(rows, 3, np.random.default_rng(6))
    odd = (readings[[*rows[0]]] == pd.Series(rows[0])).all(axis=1)
    readings.loc[odd, "value"] += 8.0
    found = analyse_factorial(readings)
    assert {share.term: share.share for share in found.shares}["rest"] == pytest.approx(rest, abs=0.02)
    assert [abs(effect.value) > 0.8 for effect in [*found.main, *found.interactions]] == [True] * (
        15 - round(15 * rest)
    )


def test_every_run_counts_for_every_factor() -> None:
    """16 arms of five factors have smaller errors than 6 arms, one factor at a time, with as many runs."""
    draw, factorial, one_at_a_time = np.random.default_rng(3), [], []
    for _ in range(100):
        found = analyse_factorial(simulate(arms(5, 2), 3, draw, A=0.1))  # 48 runs
        factorial.append(next(effect.value for effect in found.main if effect.term == "A"))
        noise = draw.normal(0, 0.1, (2, 8))  # 8 seeds of 6 arms are as many; each effect sees two arms
        one_at_a_time.append(0.1 + float(noise[0].mean() - noise[1].mean()))
    gain = np.std(one_at_a_time) / np.std(factorial)
    assert gain == pytest.approx(np.sqrt(48 / 4) / np.sqrt(8 / 2), rel=0.3)


def test_a_surviving_interaction_shows_the_simple_effects() -> None:
    found = analyse_factorial(simulate(arms(3), 6, np.random.default_rng(4), A=0.5, AB=0.5))
    simple = {effect.name: effect for effect in found.simple}
    assert simple["A: hi - lo at B=lo"].interval[0] < 0 < simple["A: hi - lo at B=lo"].interval[1]
    assert simple["A: hi - lo at B=hi"].value == pytest.approx(1.0, abs=0.15)
    assert found.shares[0].term in ("A", "A x B")
    assert found.shares[-1].term == "rest"


def test_factors_with_more_than_two_options_are_compared_with_the_mean() -> None:
    draw = np.random.default_rng(5)
    rows = [{"pos": pos, "norm": norm} for pos in ("rope", "sin", "none") for norm in ("pre", "post")]
    level = {"rope": -0.3, "sin": 0.0, "none": 0.3}
    readings = pd.DataFrame(
        [{**row, "seed": seed, "value": level[row["pos"]] + draw.normal(0, 1e-6)} for row in rows for seed in range(3)]
    )
    found = {effect.name: effect.value for effect in analyse_factorial(readings).main}
    assert found == pytest.approx({"pos: sin - mean": 0.0, "pos: none - mean": 0.3, "norm: post - pre": 0.0}, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns=["B", "D"]), "A factorial design varies at least two factors; these vary: A"),
        (lambda t: t[t["seed"] == 0], "need two seeds or more"),
        (lambda t: pd.concat([t, t.head(1)]), "The arm A=lo, B=lo, D=lo has more than one run with seed 0"),
        (
            lambda t: t.assign(value=t["value"].where(t.index > 0)),
            "The arm A=lo, B=lo, D=lo has no finite reading with",
        ),
        (lambda t: t.iloc[1:], "The arm A=lo, B=lo, D=lo has finished with 1 of 2 seeds: finish it"),
        (lambda t: t[t["A"] == t["B"]], "The main effect of B cannot be told from those of other factors"),
    ],
)
def test_what_is_no_complete_design_is_refused(change, words: str) -> None:
    readings = simulate(arms(3), 2, np.random.default_rng(6))
    with pytest.raises(UserError, match=words):
        analyse_factorial(change(readings))
