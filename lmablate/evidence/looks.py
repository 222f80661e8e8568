"""Planned looks: seeds are added in steps that were fixed beforehand, and the error rate stays that of one test.

A plan names the numbers of seeds n_1 < ... < n_K at which the runs are looked at. Each look gives a p-value that is
valid at its own n. The p-value of the claim after any look is

    p = min(1, K x the smallest p over the looks so far)

By Bonferroni over all K looks, P(p <= alpha at any look) <= alpha if the claim's null hypothesis is true, whatever the
dependence between the looks. So one may stop at any look, for any reason, and Holm's method may be applied to the
p-values of several claims as if each came from one test. Since p never rises, a claim that is decided stays decided.

An interval at a look is corrected alike: at coverage 1 - (1 - level)/K, all K intervals cover the truth at once with
probability `level`, so the one at which one stops does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.files import COUNT, TEXT, append_json_line, check_records, object_with, read_record_lines

# Relative difference between two computations of one p-value, as another version of a library may give.
_ROUNDING = 1e-6
_PLAN = object_with({"looks": {"type": "array", "items": COUNT}})
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_LOOK = object_with({"claim": TEXT, "n": COUNT, "p": {"type": "object", "additionalProperties": _PROBABILITY}})


@dataclass(frozen=True)
class LookPlan:
    """The numbers of seeds at which the runs are looked at, fixed before the first run.

    Attributes:
        looks: seeds per arm at each look, ascending.

    Raises:
        UserError: if there is no look, one has fewer than two seeds, or they do not ascend.
    """

    looks: tuple[int, ...]

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.looks, self.looks[1:], strict=False))
        if not self.looks or min(self.looks) < 2 or not ascending:
            shown = ",".join(map(str, self.looks))
            raise UserError(f"looks={shown} is not allowed: it must be ascending numbers from 2, such as 4,8,16.")

    @property
    def last(self) -> int:
        """The number of seeds per arm at the last look: the budget."""
        return self.looks[-1]

    def p(self, p_values: Sequence[float]) -> float:
        """Return the p-value of a claim, valid whenever one stops.

        Args:
            p_values: the p-value of each look so far; at least one.
        """
        return min(1.0, len(self.looks) * min(p_values))

    def level(self, level: float) -> float:
        """Return the coverage of an interval at one look with which all looks together have coverage `level`."""
        return 1 - (1 - level) / len(self.looks)


class LookLog:
    """The looks of a family of claims, in a file that only grows: the plan first, then every look.

    The first line is {"looks": [4, 8]}, each other one {"claim": "a", "n": 4, "p": {"support": 0.01}}.

    Args:
        path: the file; it is begun with the plan if it does not exist. None keeps the looks in memory only.
        plan: the plan, which must be the one in the file.

    Raises:
        UserError: if the file has another plan, or is damaged.
    """

    def __init__(self, path: Path | None, plan: LookPlan) -> None:
        self.path, self.plan = path, plan
        self._looks: dict[str, dict[int, dict[str, float]]] = {}
        lines = read_record_lines(path, {"type": "object"}) if path else []
        if not lines:
            self._append({"looks": list(plan.looks)})
        else:
            (began,) = check_records(lines[:1], _PLAN, f"{path}: the plan")
            if began["looks"] != list(plan.looks):
                planned = ",".join(map(str, began["looks"]))
                raise UserError(f"{path}: the looks were planned at {planned}, and a plan that has begun stays.")
        for look in check_records(lines[1:], _LOOK, f"{path}: a look"):
            self._looks.setdefault(look["claim"], {})[look["n"]] = look["p"]

    def _append(self, line: Mapping[str, Any]) -> None:
        if self.path:
            append_json_line(self.path, line)

    def record(self, claim: str, n: int, p_values: Mapping[str, float]) -> None:
        """Store the p-values of a claim at one look; the same look again changes nothing.

        Args:
            claim: the claim's name.
            n: the number of seeds.
            p_values: each p-value by its name, such as "support".

        Raises:
            UserError: if no look is planned there, an earlier one is missing, or the look is there with other p-values.
        """
        known = self._looks.setdefault(claim, {})
        if n not in self.plan.looks or any(look not in known for look in self.plan.looks if look < n):
            raise UserError(f"{self.path}: {claim} cannot be looked at with {n} seeds now: that is not the next look.")
        if n in known:
            same = known[n].keys() == p_values.keys() and all(
                abs(known[n][name] - p) <= _ROUNDING * max(abs(p), _ROUNDING) for name, p in p_values.items()
            )
            if not same:
                raise UserError(f"{self.path}: {claim} was seen with {n} seeds, but other runs: the runs have changed.")
            return
        self._append({"claim": claim, "n": n, "p": dict(p_values)})
        known[n] = dict(p_values)

    def history(self, claim: str) -> dict[int, dict[str, float]]:
        """Return the p-values of a claim, uncorrected, by the number of seeds of each look so far."""
        return dict(sorted(self._looks.get(claim, {}).items()))

    def p(self, claim: str) -> dict[str, float]:
        """Return the p-values of a claim after the looks so far, each by its name; all valid whenever one stops."""
        history = list(self.history(claim).values())
        return {name: self.plan.p([look[name] for look in history]) for name in (history[0] if history else {})}
