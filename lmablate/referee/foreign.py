"""Judge results that exist already: a table, or the folders of TensorBoard or wandb.

Runs of one seed are pairs if every arm has the same seeds; otherwise Welch's test compares the groups. Nobody knows how
many looks were made at such results. So the p-value holds for a number of seeds that was fixed beforehand, or for the
looks that the user names, and a warning is given if the last seeds were what made the difference.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmablate.errors import UserError
from lmablate.evidence import holm
from lmablate.evidence.looks import LookPlan
from lmablate.evidence.unpaired import UnpairedSample
from lmablate.evidence.worst_ranks import rank_sum_p
from lmablate.files import read_text
from lmablate.referee.metrics import MetricMissing, last_scalars, plain_number
from lmablate.referee.options import Options
from lmablate.referee.report import ArmSummary, Report, comparison_report, mean_and_sd
from lmablate.referee.trial import P_NAMES, ArmComparison, LookResult, Rules, judge_sample, look_at_pairs, ruling_of

# The metric of each seed of an arm. Runs without a seed are numbered; NaN stands for a diverged run.
Values = dict[int, float]


@dataclass(frozen=True)
class Results:
    """Results of several arms.

    Attributes:
        arms: the values of each arm by seed, in the order in which the arms occur.
        seeded: whether the seeds are known.
    """

    arms: Mapping[str, Values]
    seeded: bool


def judge_results(options: Options) -> Report:
    """Judge the table, or the folder, that the options name.

    Raises:
        UserError: if it cannot be read, or has fewer than two arms or two runs each.
    """
    assert options.table is not None
    if options.metric is None:
        raise UserError("metric=... is missing: the column, tag or key that is compared.")
    results = _read(options, options.table, options.metric)
    few = [arm for arm, values in results.arms.items() if len(values) < 2]
    if len(results.arms) < 2 or few:
        found = ", ".join(f"{arm} {len(values)}" for arm, values in results.arms.items())
        raise UserError(
            f"table={options.table} has the arms and runs {found or 'none'}: two arms with two runs are needed."
        )
    first, *others = results.arms
    compared = [_compare(first, other, results, options) for other in others]
    adjusted = {name: holm([one.comparison.p[name] for one in compared]) for name in P_NAMES}
    final = []
    for i, one in enumerate(compared):
        p = {name: float(adjusted[name][i]) for name in P_NAMES}
        final.append(replace(one.comparison, p=p, ruling=ruling_of(p, one.comparison.effect, one.rules)))
    notes = list(dict.fromkeys(note for one in compared for note in one.notes))
    arms = [_summary(arm, values) for arm, values in results.arms.items()]
    return comparison_report(final, arms, compared[0].rules, options.better, [], notes, 0)


@dataclass(frozen=True)
class _Compared:
    comparison: ArmComparison
    rules: Rules
    notes: list[str]


def _compare(first: str, other: str, results: Results, options: Options) -> _Compared:
    """Compare two arms by pairs, or as groups."""
    a, b = results.arms[first], results.arms[other]
    same = results.seeded and a.keys() == b.keys()
    if options.paired == "true" and not same:
        only = sorted(a.keys() ^ b.keys())[:5]
        why = f"the seeds of {first} and {other} differ, by {only}" if results.seeded else "there are no seeds"
        raise UserError(f"paired=true is not allowed: {why}.")
    paired = same and options.paired != "false"
    sign = 1 if options.better == "lower" else -1
    seeds_a, seeds_b = sorted(a), sorted(b)
    costs_a, costs_b = (sign * np.array([v[seed] for seed in s]) for v, s in ((a, seeds_a), (b, seeds_b)))
    n = min(costs_a.size, costs_b.size)
    plan = LookPlan(options.planned_looks if options.looks is not None else (n,))
    rules = Rules(plan, options.margin, options.alpha, options.exact)
    if rules.exact and not paired:
        raise UserError(f"test=ranks is not allowed: {first} and {other} are no pairs of one seed.")

    def look(m: int) -> LookResult:
        return _look(costs_a[:m], costs_b[:m], paired, rules) if m < n else _look(costs_a, costs_b, paired, rules)

    notes = [f"{first} and {other} are compared {'by pairs of one seed' if paired else 'as two groups (Welch)'}."]
    looks = [m for m in plan.looks if m <= n]
    if not looks or looks[-1] != n:
        raise UserError(f"looks={options.looks} is not allowed: {first} and {other} have {n} runs, which is no look.")
    p_values = [look(m).p_values for m in looks]
    p = {name: plan.p([values[i] for values in p_values]) for i, name in enumerate(P_NAMES)}
    if costs_a.size != costs_b.size:
        notes.append(f"{first} has {costs_a.size} runs and {other} {costs_b.size}: why did one of them get more?")
    if len(plan.looks) == 1:
        notes += _peeking(first, other, [look(m).p_values for m in range(2, n + 1)], options.alpha)
    base = ArmComparison(first, other, level=1 - options.alpha, p=p, n=n)
    return _Compared(look(n).shown_in(base), rules, notes)


def _look(a: np.ndarray, b: np.ndarray, paired: bool, rules: Rules) -> LookResult:
    if paired:
        return look_at_pairs(a, b, rules)
    diverged = (int((~np.isfinite(a)).sum()), int((~np.isfinite(b)).sum()))
    if any(diverged):
        p_values = (min(1.0, 2 * rank_sum_p(a, b)), min(1.0, 2 * rank_sum_p(b, a)), 1.0)
        return LookResult(p_values, math.nan, (-math.inf, math.inf), diverged)
    return judge_sample(UnpairedSample.of_groups(b, a), rules)


def _peeking(first: str, other: str, looks: list[tuple[float, float, float]], alpha: float) -> list[str]:
    """Return a warning if a difference shows only with the last seeds, as if these had been added until it did."""
    p_values = [min(look[:2]) for look in looks]
    shown = 0  # looks at the end at which the difference is there
    while shown < len(p_values) and p_values[-1 - shown] <= alpha:
        shown += 1
    if not 0 < shown <= max(1, len(p_values) // 10) or len(p_values) < 3:
        return []
    stopped = min(1.0, len(p_values) * min(p_values))
    return [
        f"Warning: {first} and {other} differ at {alpha:g} only with the last {shown} of {len(p_values) + 1} seeds. "
        f"If seeds were added until it looked good, the p-value is not {p_values[-1]:.2g} but up to {stopped:.2g}; "
        "looks=... judges them by the looks that were planned."
    ]


def _summary(arm: str, values: Values) -> ArmSummary:
    finite = [value for value in values.values() if math.isfinite(value)]
    mean, sd = mean_and_sd(finite)
    return ArmSummary(arm, "", len(values), mean, sd, len(values) - len(finite))


# ------------------------------------------------------------------------------------------------------- reading


def _read(options: Options, table: Path, metric: str) -> Results:
    if table.is_dir():
        if next(table.rglob("*.wandb"), None):
            return _collect(_wandb_rows(table, options, metric), table)
        if next(table.rglob("*tfevents*"), None):
            return _collect(_tensorboard_rows(table, options, metric), table)
        raise UserError(f"table={table} has no offline run of wandb (*.wandb) and no event file of TensorBoard.")
    if not table.is_file():
        raise UserError(f"table={table} is not a file or a folder.")
    return _collect(_csv_rows(table, options, metric), table)


def _collect(rows: Iterable[tuple[str, int | None, float, str]], table: Path) -> Results:
    """Return the rows (arm, seed, value, where) by arm; seeds count only if each row has one."""
    rows = list(rows)
    seeded = all(seed is not None for _, seed, _, _ in rows)
    arms: dict[str, Values] = {}
    for arm, seed, value, where in rows:
        values = arms.setdefault(arm, {})
        key = seed if seeded and seed is not None else len(values)
        if key in values:
            raise UserError(f"{table}: {where} is a second run of {arm} with the seed {key}, and which one counts?")
        values[key] = value
    return Results(arms, seeded)


def _number(text: object, where: str) -> float:
    cell = str(text).strip()
    try:
        value = plain_number(cell)
    except ValueError:
        raise UserError(f"{where} is {cell[:80]!r}, which is no number; a diverged run is nan.") from None
    return value if math.isfinite(value) else math.nan


def _seed(text: object, where: str) -> int:
    cell = str(text).strip()
    if not re.fullmatch(r"[0-9]{1,18}(\.0)?", cell):
        raise UserError(f"{where} is {cell[:80]!r}, but a seed is a whole number.")
    return int(cell.removesuffix(".0"))


def _csv_rows(table: Path, options: Options, metric: str) -> Iterable[tuple[str, int | None, float, str]]:
    try:
        rows = list(csv.reader(io.StringIO(read_text(table)), strict=True))
    except csv.Error as error:
        raise UserError(f"table={table} is not CSV: {error}.") from None
    header = [name.strip() for name in rows[0]] if rows else []
    for key, name in (("arm", options.arm), ("metric", metric)):
        if header.count(name) != 1:
            has = f"it has {', '.join(header)}" if header else "it is empty"
            times = "no column" if name not in header else "more than one column"
            raise UserError(f"{key}={name} is not allowed: {table} has {times} {name}; {has}.")
    places = {name: header.index(name) for name in header}
    if options.seed not in places and options.seed != type(options).seed:
        raise UserError(f"seed={options.seed} is not allowed: {table} has no such column; it has {', '.join(header)}.")
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"line {line}"
        if len(row) != len(header):
            raise UserError(f"{table}: {where} has {len(row)} cells, but there are {len(header)} columns.")
        seed = _seed(row[places[options.seed]], f"{table}: the seed in {where}") if options.seed in places else None
        yield (
            row[places[options.arm]].strip(),
            seed,
            _number(row[places[metric]], f"{table}: {metric} in {where}"),
            where,
        )


def _tensorboard_rows(folder: Path, options: Options, tag: str) -> Iterable[tuple[str, int | None, float, str]]:
    try:
        pattern = re.compile(options.names)
    except re.error as error:
        raise UserError(f"names={options.names} is not a regular expression: {error}.") from None
    if {"arm", "seed"} - pattern.groupindex.keys():
        raise UserError(
            f"names={options.names} is not allowed: it must have the groups (?P<arm>...) and (?P<seed>...)."
        )
    for run in sorted({path.parent for path in folder.rglob("*tfevents*")}):
        name = str(run.relative_to(folder))
        match = pattern.fullmatch(name)
        if not match:
            raise UserError(f"names={options.names} does not match the folder {name}: which arm and seed is that?")
        yield match["arm"], _seed(match["seed"], f"the seed of {name}"), _last_scalar(run, tag, name), name


def _last_scalar(run: Path, tag: str, name: str) -> float:
    try:
        value = last_scalars(run, name)(tag)
    except MetricMissing as missing:
        raise UserError(f"{missing}.") from None
    return value if math.isfinite(value) else math.nan


def _wandb_rows(folder: Path, options: Options, metric: str) -> Iterable[tuple[str, int | None, float, str]]:
    from lmablate.results.exports.recorded import flatten_config
    from lmablate.results.exports.wandb_offline import read_segment

    for path in sorted(folder.rglob("*.wandb")):
        segment = read_segment(path)
        config = flatten_config((segment.header.get("config") or {}).get("update") or {})
        values = [row[metric] for _, row in segment.rows if metric in row]
        if options.arm not in config or not values:
            lacks = f"its config has no {options.arm} (arm=...)" if options.arm not in config else f"it has no {metric}"
            raise UserError(f"{path}: {lacks}.")
        seed = _seed(config[options.seed], f"{path}: {options.seed}") if options.seed in config else None
        yield str(config[options.arm]).strip(), seed, _number(values[-1], f"{path}: {metric}"), path.name
