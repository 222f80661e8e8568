"""A decision as one sentence with its numbers: what is shown, by which part, and why an open claim is open."""

from collections import Counter
from collections.abc import Sequence
from math import isinf

from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.planning import MOST_SEEDS
from lmablate.evidence.rule import Decision, Kind

# What is said of parts, by what the rule says of each, for one part and for several.
_PART_WORDS = {
    Kind.SUPPORTED: ("is shown", "are shown"),
    Kind.REFUTED: ("is shown to be the opposite", "are shown to be the opposite"),
    Kind.EQUIVALENT: ("is shown to be negligible", "are shown to be negligible"),
}
_NORMAL_TAILS = "it assumes that seeds differ normally, which so few seeds cannot show"


def verdict_sentence(
    decision: Decision, parts: Sequence[Decision], alpha: float, seeds: int | None, chances: bool = False
) -> str:
    """Return the decision in words, with the numbers of the deciding contrast.

    Args:
        decision: the decision on the claim.
        parts: what is known of each of its contrasts.
        alpha: the level of the rule.
        seeds: number of seeds that would probably decide; None if unknown, or if no feasible number would do.
        chances: whether it is known how likely a verdict is with more seeds.
    """
    contrast, several = decision.contrast, len(parts) > 1
    low, high = contrast.interval
    numbers = (
        f"effect {contrast.sample.mean:+.4g}, {contrast.level:.0%} interval {low:+.4g} to {high:+.4g}, "
        f"n = {contrast.sample.n}, p = {decision.p_adjusted:.2g} after Holm"
    )
    numbers += f"; {_NORMAL_TAILS}" if decision.normal_tails else ""
    negligible = f"the difference is smaller than {contrast.margin:g} where it is claimed that {contrast.label}"
    match decision.kind:
        case Kind.SUPPORTED:
            among = f" (the weakest of {len(parts)} parts, which all hold)" if several else ""
            return f"It holds that {contrast.label}{among}: {numbers}."
        case Kind.REFUTED:
            among = f" (the clearest of {len(parts)} parts, of which one is enough)" if several else ""
            return f"It does not hold that {contrast.label}{among}: {numbers}."
        case Kind.EQUIVALENT:
            return f"{negligible[:1].upper()}{negligible[1:]}: {numbers}."
        case Kind.PART_NEGLIGIBLE:
            return f"It fails, since one of its {len(parts)} parts is negligible: {negligible}: {numbers}."
        case _:
            among = f" (the weakest of {len(parts)} parts)" if several else ""
            why = f"{_reason_open(contrast, alpha)}; {_remedy(contrast, seeds, chances)}"
            return f"It is open whether {contrast.label}{among}: {numbers}; {why}.{_known_parts(parts)}"


def _known_parts(parts: Sequence[Decision]) -> str:
    """Return a sentence about what is shown of the parts of a claim; empty if it is nothing, or of one part."""
    counts = Counter(part.kind for part in parts)
    shown = [f"{counts[kind]} {words[counts[kind] > 1]}" for kind, words in _PART_WORDS.items() if counts[kind]]
    return f" Of its {len(parts)} parts {' and '.join(shown)}." if shown and len(parts) > 1 else ""


def _reason_open(contrast: Contrast, alpha: float) -> str:
    """Return, as a clause, why a contrast does not decide."""
    sample, (low, high) = contrast.sample, contrast.interval
    if sample.n < 2:
        return "one seed shows no spread"
    if sample.is_constant:
        rate = 1 - (1 - contrast.level) ** (1 / sample.n)
        same = f"all {sample.n} values are the same, so another one may still occur in up to {rate:.0%} of seeds"
        return f"{same}, and how far it would lie from them is not known" if isinf(low) or isinf(high) else same
    supports = contrast.p_support <= alpha and contrast.large_enough
    if supports or min(contrast.p_against, contrast.p_equivalent) <= alpha:
        return "alone it would be decided, but among all claims it may still be chance"
    if low > 0 and not contrast.large_enough:
        return f"it is above 0, but measured to be smaller than {contrast.margin:g}"
    return "the interval holds both values that would support the claim and values that would not"


def _remedy(contrast: Contrast, seeds: int | None, chances: bool) -> str:
    if seeds is not None:
        return f"with about {seeds} seeds it would be decided with probability 0.8"
    if contrast.sample.n < 2:
        return "two seeds or more would show the spread"
    if chances:
        return f"even {MOST_SEEDS} seeds would decide it with a probability below 0.8"
    return "how many seeds would decide it cannot be told from these"
