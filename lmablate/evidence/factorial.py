"""Effects in a factorial design: which part matters most, and which parts change each other's effect.

Every run has one reading y, such as its final loss. The model is

    y = block of the seed + main effects + interactions of two factors + error,

fitted by least squares. A factor is coded so that the effect of an option is its deviation from the mean over the
factor's options; with two options, the effect shown is the second minus the first. The covariance is HC2 (MacKinnon and
White, Journal of Econometrics 29, 1985) with the t distribution at the residual degrees of freedom: it allows arms with
different spreads, and where all factors have two options it is that of ordinary least squares. HC3 would be wrong here:
with two seeds half of a run's leverage is its own, and its 95 % intervals cover 99.5 %.

p-values of main effects are corrected by Holm, those of interactions by Benjamini and Hochberg. The share of an effect
is its part of the variance among the arms' means, less what noise alone adds to it; its interval comes from means drawn
around the measured ones (a parametric bootstrap: two seeds are too few to draw seeds).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats as distributions

from lmablate.errors import UserError
from lmablate.evidence.stats import holm

# How many means are drawn for the intervals of shares, always from the same numbers.
_DRAWS, _DRAW_SEED = 2000, 0
_RUNS_OF_ARMS = ("seed", "value")
# A table, or a column, of pandas, whose annotations do not say what its methods return.
_Table: TypeAlias = Any


@dataclass(frozen=True)
class Effect:
    """A main effect, an interaction of two factors, or a simple effect, as a contrast of readings.

    Attributes:
        name: the factors and options, such as "norm: post - pre" or "norm x pos: (post - pre) x (sin - rope)".
        term: the factors, joined by " x ".
        value: the contrast, in the unit of the reading. That of an interaction is half the difference of the
            first factor's effect between the second one's options, as Box and Hunter define it.
        error: its standard error.
        interval: its 95 % confidence interval.
        p: the two-sided p-value of "the effect is 0".
        adjusted: p, corrected for all main effects or all interactions.
    """

    name: str
    term: str
    value: float
    error: float
    interval: tuple[float, float]
    p: float
    adjusted: float = float("nan")


@dataclass(frozen=True)
class Share:
    """The part of the variance among arms that a term explains.

    Attributes:
        term: the factors, joined by " x "; "rest" for all that the terms leave.
        share: from 0 to 1.
        interval: its 95 % interval.
    """

    term: str
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Factorial:
    """The analysis of a design.

    Attributes:
        main: main effects, largest first.
        interactions: of two factors, largest first.
        simple: the effect of each factor at each option of the other, for interactions that survive the correction.
        shares: one per term, largest first, and the rest.
        seeds: number of seeds.
        arms: number of arms.
        residual: standard deviation of a run around the model, in the unit of the reading.
    """

    main: list[Effect]
    interactions: list[Effect]
    simple: list[Effect]
    shares: list[Share]
    seeds: int
    arms: int
    residual: float

    @property
    def is_saturated(self) -> bool:
        """Whether no arm is left to show other interactions: they look like these, and one odd arm like many."""
        parts = {effect.term for effect in self.main}
        return len(parts) > 2 and len(self.main) + len(self.interactions) == self.arms - 1


def analyse_factorial(readings: pd.DataFrame) -> Factorial:
    """Fit the model, and return its effects.

    Args:
        readings: one row per run: one column per factor with the option, `seed`, and `value`.

    Raises:
        UserError: if there are fewer than two factors, if readings are not as `check_readings` wants them, or if
            main effects cannot be told apart.
    """
    table: _Table = readings
    factors = factors_of(readings)
    varying = [factor for factor in factors if table[factor].nunique() > 1]
    if len(varying) < 2 or len(varying) < len(factors):
        raise UserError(f"A factorial design varies at least two factors; these vary: {', '.join(varying) or 'none'}.")
    check_readings(readings)
    codes = {factor: _contrasts(table[factor]) for factor in factors}
    terms: dict[str, np.ndarray] = {factor: matrix for factor, (_, matrix) in codes.items()}
    pairs = _free_pairs(factors, codes)
    terms |= {_joined(pair): _product(*(codes[factor][1] for factor in pair)) for pair in pairs}
    fit = _fit(table, terms)
    main = [effect for factor in factors for effect in _effects(fit, factor, [codes[factor][0]])]
    inter = [effect for pair in pairs for effect in _effects(fit, _joined(pair), [codes[factor][0] for factor in pair])]
    main = adjusted_by_holm(main)
    inter = _adjusted(inter, _benjamini_hochberg([effect.p for effect in inter]))
    alive = {effect.term for effect in inter if effect.adjusted <= 0.05}
    simple = [e for pair in pairs if _joined(pair) in alive for e in _simple_effects(table, *pair)]
    return Factorial(
        sorted_by_size(main), sorted_by_size(inter), simple, _shares(table, factors, terms, fit),
        table["seed"].nunique(), table.groupby(factors, observed=True).ngroups, fit.residual,
    )  # fmt: skip


def sorted_by_size(effects: Sequence[Effect]) -> list[Effect]:
    """Return effects, largest first."""
    return sorted(effects, key=lambda effect: -abs(effect.value))


def factors_of(readings: pd.DataFrame) -> list[str]:
    """Return the factors of a table of readings: its columns besides `seed` and `value`."""
    return [str(column) for column in readings.columns if column not in _RUNS_OF_ARMS]


def check_readings(readings: pd.DataFrame) -> None:
    """Refuse readings unless each arm has one number for each seed, and there are two seeds or more.

    Args:
        readings: one row per run: one column per factor with the option, `seed`, and `value`.

    Raises:
        UserError: if an arm lacks a seed or has one twice, if a reading is no finite number, or if there is one seed.
    """
    table: _Table = readings
    seeds, factors = table["seed"].nunique(), factors_of(readings)
    if seeds < 2:
        raise UserError("Effects need two seeds or more: one cannot tell them from noise.")
    for arm, runs in table.groupby(factors, observed=True):
        words = ", ".join(f"{factor}={level}" for factor, level in zip(factors, arm, strict=True))
        unread = runs["seed"][~np.isfinite(runs["value"].astype(float))]
        if len(unread):
            raise UserError(
                f"The arm {words} has no finite reading with seed {unread.iloc[0]}: choose another metric, or leave "
                "out that seed."
            )
        twice = runs["seed"][runs["seed"].duplicated()]
        if len(twice):
            raise UserError(
                f"The arm {words} has more than one run with seed {twice.iloc[0]}: hide what does not belong to it "
                "(python -m lmablate.clean), and export again."
            )
        if len(runs) < seeds:
            raise UserError(
                f"The arm {words} has finished with {len(runs)} of {seeds} seeds: finish it, or leave out the seeds "
                "that it lacks."
            )


def _contrasts(levels: _Table) -> tuple[list[str], np.ndarray]:
    """Return the names of a factor's contrasts, and their columns: each option's indicator minus that of the first.

    The columns of a factor sum to zero over its options, so that a coefficient is a deviation from the mean: with two
    options -1/2 and +1/2, whose coefficient is the second option minus the first.
    """
    options = [*dict.fromkeys(levels)]
    shown = [f"{option} - {options[0]}" for option in options[1:]]
    if len(options) > 2:
        shown = [f"{option} - mean" for option in options[1:]]
    centre = np.eye(len(options))[:, 1:] - (1 / 2 if len(options) == 2 else 0)
    if len(options) > 2:
        centre[0] = -1.0
    return shown, centre[levels.map(options.index).to_numpy()]


def _free_pairs(factors: Sequence[str], codes: Mapping[str, tuple[list[str], np.ndarray]]) -> list[tuple[str, str]]:
    """Return the pairs of factors whose interaction is not a combination of main effects and earlier interactions.

    Raises:
        UserError: if a main effect is a combination of others.
    """
    basis = np.ones((len(next(iter(codes.values()))[1]), 1))
    for factor in factors:
        if not _adds(basis, codes[factor][1]):
            raise UserError(f"The main effect of {factor} cannot be told from those of other factors in these arms.")
        basis = np.hstack([basis, codes[factor][1]])
    pairs = []
    for one, other in itertools.combinations(factors, 2):
        columns = _product(codes[one][1], codes[other][1])
        if _adds(basis, columns):
            pairs.append((one, other))
            basis = np.hstack([basis, columns])
    return pairs


def _adds(basis: np.ndarray, columns: np.ndarray) -> bool:
    """Return whether no combination of `columns` is one of the columns of `basis`."""
    rank = np.linalg.matrix_rank
    return rank(np.hstack([basis, columns])) == rank(basis) + columns.shape[1]


def _product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of columns, scaled as an interaction of two options each is: by 2."""
    return 2 * (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)


def _joined(pair: Sequence[str]) -> str:
    return " x ".join(factor.removeprefix("model/") for factor in pair)


@dataclass(frozen=True)
class _Fit:
    """Coefficients by term, with their covariance."""

    columns: dict[str, list[int]]
    beta: np.ndarray
    covariance: np.ndarray
    df: int
    residual: float


def _fit(readings: _Table, terms: Mapping[str, np.ndarray]) -> _Fit:
    """Fit by least squares, with a block per seed and the covariance HC2."""
    blocks = (readings["seed"].to_numpy()[:, None] == readings["seed"].unique()[None, :]).astype(float)
    matrix = np.hstack([blocks, *terms.values()])
    columns, start = {}, blocks.shape[1]
    for term, part in terms.items():
        columns[term] = [*range(start, start + part.shape[1])]
        start += part.shape[1]
    y = readings["value"].to_numpy(float)
    inverse = np.linalg.inv(matrix.T @ matrix)
    beta = inverse @ matrix.T @ y
    errors = y - matrix @ beta
    leverage = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    df = len(y) - matrix.shape[1]
    if df < 1:
        raise UserError("There are as many effects as runs: add seeds, or leave out factors.")
    weights = errors**2 / np.maximum(1 - leverage, 1e-12)
    covariance = inverse @ (matrix.T * weights) @ matrix @ inverse
    return _Fit(columns, beta, covariance, df, float(np.sqrt(errors @ errors / df)))


def _effects(fit: _Fit, term: str, names: Sequence[Sequence[str]]) -> Iterator[Effect]:
    """Yield the effects of a term, one per column."""
    shown = term.removeprefix("model/")
    for name, column in zip(itertools.product(*names), fit.columns[term], strict=True):
        words = name[0] if len(name) == 1 else " x ".join(f"({part})" for part in name)
        value, error = float(fit.beta[column]), float(np.sqrt(fit.covariance[column, column]))
        yield _effect(f"{shown}: {words}", shown, value, error, fit.df)


def _effect(name: str, term: str, value: float, error: float, df: int) -> Effect:
    reach = float(distributions.t.ppf(0.975, df)) * error
    p = float(2 * distributions.t.sf(abs(value) / error, df)) if error > 0 else float(value == 0)
    return Effect(name, term, value, error, (value - reach, value + reach), p)


def _simple_effects(readings: _Table, one: str, other: str) -> Iterator[Effect]:
    """Yield the effect of each of two factors at each option of the other: means per seed, and a paired t interval."""
    for factor, at in ((one, other), (other, one)):
        options = [*dict.fromkeys(readings[factor])]
        for place in dict.fromkeys(readings[at]):
            means = readings[readings[at] == place].pivot_table(
                index="seed", columns=factor, values="value", observed=True
            )
            for option in options[1:]:
                gap = (means[option] - means[options[0]]).to_numpy()
                name = (
                    f"{factor.removeprefix('model/')}: {option} - {options[0]} at {at.removeprefix('model/')}={place}"
                )
                yield paired_effect(name, _joined((one, other)), gap)


def paired_effect(name: str, term: str, gaps: np.ndarray) -> Effect:
    """Return the mean of differences, one per seed, with a paired t interval.

    Args:
        name: what is subtracted from what.
        term: the factors, or the option, that it is about.
        gaps: the differences.
    """
    return _effect(name, term, float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps))), len(gaps) - 1)


def adjusted_by_holm(effects: Sequence[Effect]) -> list[Effect]:
    """Return effects whose p-values are corrected by Holm, for all of them."""
    return _adjusted(effects, holm([effect.p for effect in effects]).tolist())


def _adjusted(effects: Sequence[Effect], values: Sequence[float]) -> list[Effect]:
    return [replace(effect, adjusted=float(value)) for effect, value in zip(effects, values, strict=True)]


def _benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return p-values corrected by Benjamini and Hochberg (Journal of the Royal Statistical Society B 57, 1995)."""
    return [float(value) for value in distributions.false_discovery_control(p)] if len(p) else []


def _shares(readings: _Table, factors: Sequence[str], terms: Mapping[str, np.ndarray], fit: _Fit) -> list[Share]:
    """Return the share of each term in the variance among the arms' means, with intervals."""
    arms = readings.groupby([*factors], observed=True, sort=False).ngroup()
    coded = {term: matrix[(~arms.duplicated()).to_numpy()] for term, matrix in terms.items()}
    means = readings.groupby(arms)["value"].mean().to_numpy()
    noise = fit.residual**2 / readings["seed"].nunique()
    draw = np.random.default_rng(_DRAW_SEED)
    spread = np.sqrt(noise * fit.df / draw.chisquare(fit.df, (_DRAWS, 1)))
    drawn = _explained(means + spread * draw.standard_normal((_DRAWS, len(means))), coded, 2 * noise)
    shares = []
    for term, values in _explained(means[None, :], coded, noise).items():
        low, high = np.quantile(drawn[term], [0.025, 0.975])
        shares.append(Share(term.removeprefix("model/"), float(values[0]), (float(low), float(high))))
    return sorted(shares, key=lambda share: (share.term == "rest", -share.share))


def _explained(means: np.ndarray, coded: Mapping[str, np.ndarray], noise: float) -> dict[str, np.ndarray]:
    """Return the part of the variance of the arms' means that each term explains, for each row of means.

    The arms of a design are balanced, so the terms are orthogonal: each has its own sum of squares, whatever the order.

    Args:
        means: one column per arm.
        coded: the columns of each term, one row per arm.
        noise: the variance of a mean around the model, which each column of a term gains.
    """
    centred = means - means.mean(1, keepdims=True)
    squares = {term: ((centred @ np.linalg.qr(matrix)[0]) ** 2).sum(1) for term, matrix in coded.items()}
    total = (centred**2).sum(1)
    squares["rest"] = total - sum(squares.values())
    columns = {term: matrix.shape[1] for term, matrix in coded.items()}
    columns["rest"] = means.shape[1] - 1 - sum(columns.values())
    whole = np.maximum(total - (means.shape[1] - 1) * noise, np.finfo(float).tiny)
    return {term: np.clip((values - columns[term] * noise) / whole, 0, 1) for term, values in squares.items()}


def half_normal(sizes: Sequence[float]) -> tuple[list[float], float]:
    """Return where effects would lie if all were noise, for a half-normal plot (Daniel, Technometrics 1, 1959).

    Args:
        sizes: absolute values of the effects, ascending.

    Returns:
        The half-normal quantile of each effect, and the slope of the line of noise: Lenth's pseudo standard error
        (Technometrics 31, 1989), which few large effects do not disturb.
    """
    quantiles = distributions.halfnorm.ppf((np.arange(len(sizes)) + 0.5) / len(sizes))
    first = 1.5 * float(np.median(sizes))
    small = [size for size in sizes if size < 2.5 * first]
    return [float(x) for x in quantiles], 1.5 * float(np.median(small)) if small else first
