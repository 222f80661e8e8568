"""A verdict for a reader who is no statistician: which difference was seen, and why that decides or does not."""

import math
import re
from collections import Counter

from lmablate.errors import counted
from lmablate.evidence import Kind, Verdict
from lmablate.evidence.contrasts import Contrast, Equality
from lmablate.evidence.planning import MOST_SEEDS
from lmablate.evidence.rule import Decision
from lmablate.results.plots.quantities import KNOWN, LOSS_UNIT, quantity_of
from lmablate.results.plots.style import FACTOR_NAMES, LEVEL_NAMES, level_name
from lmablate.results.report.verdict_table import format_number

# How a part of a claim is marked, by what it would be called alone.
MARKS = {
    Kind.SUPPORTED: ("✓", "shown"),
    Kind.REFUTED: ("✗", "opposite shown"),
    Kind.EQUIVALENT: ("≈", "too small to matter"),
    Kind.UNDERPOWERED: ("?", "open"),
}
LOG = "log "
SINCE = "change since step 0 of "
DECADES = " (decades)"
# What is said of a metric's values over training, by the word of a reading.
REDUCED = {
    "first of ": "first ", "mean of ": "mean ", "sd of ": "standard deviation of the ", "change of ": "change of the ",
    "spikes of ": "share of spikes in the ", "peak_to_median of ": "peak over median of the ",
    "peak_step of ": "step of the peak of the ", "rise_step of ": "step of the peak after the first fall of the ",
}  # fmt: skip
# A metric, or a pattern of metrics with or without its index.
METRICS = re.compile(
    rf"(?<![\w./])({'|'.join(map(re.escape, sorted(KNOWN, key=len, reverse=True)))})(?![\w./])".replace(
        re.escape("{i}"), r"(?:\{i\}|[0-9]+)"
    )
)
ARM = re.compile(r"([\w./]+)=([^\s,()]+)")
# What the label of a contrast says that compares a reading with a number, and not with another arm.
AGAINST_NUMBER = re.compile(r" (?:is (?:above|below)|rises by) \S*[0-9]")
STRETCH = re.compile(r"\((\d+)%-(\d+)%\)")
EXPERIMENT = re.compile(r"\(experiment [^()]+\)$")


def part_mark(part: Decision) -> tuple[str, str]:
    """Return the mark of what is known of one part of a claim, and the mark in words."""
    return MARKS[part.kind]


def label_in_words(label: str) -> str:
    """Return the label of a contrast without the keys of a config: "the validation loss is lower with RoPE"."""
    text = label.removeprefix(LOG).replace(DECADES, "")
    since = f"{SINCE}the " if text.startswith(SINCE) else ""
    text = text.removeprefix(SINCE)
    reading = METRICS.match(text)
    if reading and not since and "{i}" not in reading[0] and " − " not in text:
        text = f"final {text}"
    for word, words in REDUCED.items():
        text = text.replace(word, words, 1) if text.startswith(word) else text
    text = METRICS.sub(lambda metric: _name_of(metric[0]), text)
    text = ARM.sub(lambda arm: _level(arm[1], arm[2]), text)
    for factor, name in FACTOR_NAMES.items():
        if factor.isidentifier():  # a word such as "loss", which is no key here: as one, ARM has found it
            continue
        text = re.sub(rf"(?<![\w./]){re.escape(factor)}(?![\w./=])", name, text)
    text = since + text
    text = text if text.startswith("the ") else f"the {text}"
    text = EXPERIMENT.sub(lambda name: name[0].replace("_", " "), text)
    text = STRETCH.sub(r"(\1 % to \2 % of training)", text)
    return text.replace("(after_warmup)", "(after warm-up)").replace("(warmup)", "(during warm-up)")


def _name_of(metric: str) -> str:
    quantity = quantity_of(metric)
    name = quantity.spoken or quantity.name
    return f"share of {name}" if quantity.unit == "fraction" else name


def _level(factor: str, level: str) -> str:
    if level in LEVEL_NAMES.get(factor, {}):
        return level_name(factor, level)
    try:
        return level_name(factor, float(level))
    except ValueError:
        return f"{factor}={level}"


def plain_sentence(verdict: Verdict) -> str:
    """Return the verdict in words: the question, what was seen, and why that decides it or not."""
    if not verdict.n:
        return verdict.sentence
    contrast = _deciding(verdict)
    several = len(verdict.parts) if len(verdict.parts) > 1 else 0
    every, of_all = ("Both", "both of its") if several == 2 else (f"All {several}", f"all of its {several}")
    claimed, seen = label_in_words(contrast.label), _seen(contrast)
    none = f"Less than {_amount(contrast, contrast.margin)} was to count as none, even if it is real."
    match verdict.kind:
        case Kind.SUPPORTED:
            weakest = f". {every} parts of the claim were seen; this is the least clear" if several else ""
            return f"Seen in {counted(verdict.n, 'seed')}: {claimed}{weakest}. {seen}"
        case Kind.REFUTED:
            one = f" One of {several} parts is enough for that." if several else ""
            what = "It is not so" if isinstance(contrast, Equality) else "The opposite was seen"
            return f"{what}, in {counted(verdict.n, 'seed')}. Claimed was that {claimed}. {seen}{one}"
        case Kind.EQUIVALENT:
            return f"Claimed was that {claimed}. {seen} {none}"
        case Kind.PART_NEGLIGIBLE:
            fails = f"The claim needs {of_all} parts, and one makes a difference too small to matter"
            return f"{fails}: that {claimed}. {seen} {none}"
    weakest = f"{every} parts are needed. The one with the least support is" if several else "The question is"
    why = f"{_why_open(contrast)} {_remedy(verdict)}"
    return f"{weakest} whether {claimed}. {seen} {why}{_known(verdict)}"


def _known(verdict: Verdict) -> str:
    """Return a sentence about the parts of an open claim that are decided; empty if there is none."""
    counts = Counter(part.kind for part in verdict.parts)
    words = {Kind.SUPPORTED: "shown", Kind.REFUTED: "shown to be the opposite", Kind.EQUIVALENT: "too small to matter"}
    listed = " and ".join(f"{counts[kind]} {said}" for kind, said in words.items() if counts[kind])
    return (
        f" Of its {len(verdict.parts)} parts, already decided: {listed}." if listed and len(verdict.parts) > 1 else ""
    )


def _deciding(verdict: Verdict) -> Contrast:
    return next(c for c in verdict.contrasts if (c.sample.mean, c.sample.n) == (verdict.effect, verdict.n))


def _amount(contrast: Contrast, value: float) -> str:
    """Return a difference with its unit; a logarithm as a factor."""
    if contrast.label.startswith(LOG):
        return f"a factor of {format_number(math.exp(min(value, 700)), sign=False)}"
    return format_number(value, sign=False)


def _seen(contrast: Contrast) -> str:
    """Return a sentence about the measured difference and its range."""
    mean, (low, high) = contrast.sample.mean, contrast.interval
    if contrast.sample.is_constant:
        rate = 1 - (1 - contrast.level) ** (1 / contrast.sample.n)
        same = "no difference at all" if mean == 0 else f"the same difference, {format_number(mean)},"
        return (
            f"In {counted(contrast.sample.n, 'seed')} {same} was seen. Another value may still occur "
            f"in up to {rate:.0%} of seeds: so few cannot rule it out."
        )
    side = "" if isinstance(contrast, Equality) or mean == 0 else " for the claim" if mean > 0 else " against the claim"
    is_log = contrast.label.startswith(LOG)
    unit = "" if is_log else _unit(contrast)
    if is_log:
        sign = -1.0 if mean < 0 else 1.0
        ends = sorted((sign * low, sign * high))
        number, (low_text, high_text) = _amount(contrast, abs(mean)), (_factor(end) for end in ends)
    else:
        number, low_text, high_text = format_number(mean), format_number(low), format_number(high)
    what, none = "difference", "1 would be no difference" if is_log else "0 would be no difference"
    if AGAINST_NUMBER.search(contrast.label):
        what, none = "distance from that number", "1 would be no distance" if is_log else "0 would be no distance"
    diverged = f" {contrast.diverged} of {counted(len(contrast.runs), 'run')} diverged." if contrast.diverged else ""
    if not math.isfinite(low) or not math.isfinite(high):
        few = "and nothing of how far seeds differ" if contrast.sample.n < 2 else "and leave open how far seeds differ"
        return f"{_seeds(contrast)} {number}{unit}{side}, {few}.{diverged}"
    note = ARM.sub(lambda arm: _level(arm[1], arm[2]), contrast.note)
    return (
        f"The {what} is {number}{unit}{side}; the seeds leave open {low_text} to {high_text} ({none}).{note}{diverged}"
    )


def _seeds(contrast: Contrast) -> str:
    return "One seed shows" if contrast.sample.n < 2 else f"{contrast.sample.n} seeds show"


def _factor(value: float) -> str:
    return format_number(math.exp(max(-700.0, min(value, 700.0))), sign=False)


def _unit(contrast: Contrast) -> str:
    if DECADES in contrast.label:
        return " decades"
    found = METRICS.search(contrast.label)
    return " nats" if found and quantity_of(found[0]).unit == LOSS_UNIT else ""


def _why_open(contrast: Contrast) -> str:
    """Return why the measured range does not decide."""
    (low, high), margin = contrast.interval, _amount(contrast, contrast.margin)
    if contrast.sample.n < 2:
        return "That cannot be told from chance."
    if isinstance(contrast, Equality):
        return _why_not_the_same(contrast, margin)
    if contrast.sample.is_constant:
        return "That shows neither a difference nor that there is none."
    if low <= 0 <= high:
        return "So it may go either way."
    if high < 0:
        return "That speaks against the claim, but among all claims of this page it may still be chance."
    if contrast.sample.mean < contrast.margin:
        return f"That is less than {margin}, the least that would matter."
    return "That speaks for the claim, but among all claims of this page it may still be chance."


def _why_not_the_same(contrast: Contrast, margin: str) -> str:
    """Return why a range decides neither that two readings are the same nor that they are not."""
    (low, high), same = contrast.interval, f"Less than {margin} counts as the same"
    if low > contrast.margin or high < -contrast.margin:
        where, side = "all that the seeds leave open is more", "against"
    elif max(high, -low) < contrast.margin:
        where, side = "so does all that the seeds leave open", "for"
    else:
        return f"{same}, and the seeds leave open both less and more."
    return (
        f"{same}, and {where}. That speaks {side} the claim, but among all claims of this page it may still be chance."
    )


def _remedy(verdict: Verdict) -> str:
    """Return how many seeds would probably decide."""
    if verdict.seeds_needed is None:
        if verdict.n < 2:
            return "Two seeds or more would show more."
        if verdict.chances:
            return f"Even {MOST_SEEDS} seeds would decide it with a chance of less than 80 %."
        return "How many seeds would decide it cannot be told from these."
    chance = "it would be decided with a chance of 80 %, for the claim or against it"
    return f"With about {verdict.seeds_needed:,} seeds in all, {chance}; there are {verdict.n}."
