"""Factorial designs: the arms of several factors at once, all of them or a fraction.

A file such as conf/design/parts.yaml lists factors with their options. Hydra gets an option of the group `cell` for
each arm: parts_01, parts_02, ... `fraction: 2` takes half of the arms, `fraction: 4` a quarter: those by which effects
are told apart best.

A fraction of factors with two options each keeps the full design of the first ones. Each further factor is the product
of some of these, with options counted as -1 and +1. The products that are constant are the words of the defining
relation; the shortest word's length is the resolution (Box and Hunter, Technometrics 3, 1961). At resolution 3 main
effects are told apart from each other, at 5 interactions of two factors as well. Of all fractions of the highest
resolution, the one with the fewest words of that length is taken (Fries and Hunter, Technometrics 22, 1980).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from lmablate.config.project import yaml_files
from lmablate.config.stacks import store_options
from lmablate.errors import UserError
from lmablate.files import read_yaml

# Arms and factors of the largest design: more would take a search, or a cluster, of its own.
_MOST_ARMS, _MOST_FACTORS = 1024, 10
_FRACTIONS = tuple(str(2**power) for power in range(_MOST_FACTORS))
_ROMAN = ("0", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
# A product of factors, as the set of their positions.
Word = frozenset[int]


@dataclass(frozen=True)
class Design:
    """A factorial design.

    Attributes:
        factors: the options of each factor, by its group.
        fraction: of how many arms one is taken: 1 for all.
        words: the products of factors that are constant; none if all arms are taken.
    """

    factors: dict[str, tuple[str, ...]]
    fraction: int
    words: tuple[Word, ...]

    @property
    def resolution(self) -> float:
        """Length of the shortest word; infinite if all arms are taken."""
        return min(map(len, self.words), default=math.inf)

    def arms(self) -> list[dict[str, str]]:
        """Return the options of every arm, by group."""
        indices = itertools.product(*(range(len(options)) for options in self.factors.values()))
        chosen = [row for row in indices if all(sum(row[i] for i in word) % 2 == 0 for word in self.words)]
        return [{g: options[i] for (g, options), i in zip(self.factors.items(), row, strict=True)} for row in chosen]

    def describe(self) -> str:
        """Return in words how many arms there are, and which effects cannot be told apart."""
        all_arms = math.prod(map(len, self.factors.values()))
        if not self.words:
            return f"all {all_arms} arms: every effect is told apart"
        roman = _ROMAN[int(self.resolution)]
        text = f"{all_arms // self.fraction} of {all_arms} arms, resolution {roman}"
        aliases = ["=".join(sorted(map(self._name, pair))) for pair in sorted(self._aliased_pairs(), key=sorted)]
        if self.resolution >= 5:
            return f"{text}: main effects and interactions of two factors are told apart"
        if self.resolution == 4:
            return f"{text}: main effects are told apart; of interactions these are not: {', '.join(aliases)}"
        return f"{text}: main effects are mixed with interactions of two factors"

    def _aliased_pairs(self) -> Iterator[frozenset[Word]]:
        pairs = [frozenset(pair) for pair in itertools.combinations(range(len(self.factors)), 2)]
        return (frozenset(both) for both in itertools.combinations(pairs, 2) if both[0] ^ both[1] in self.words)

    def _name(self, word: Word) -> str:
        return " x ".join([*self.factors][i].rsplit("/", 1)[-1] for i in sorted(word))


def register_designs() -> None:
    """Give Hydra the cells of the files in the folders `design`, the user's own among them."""
    store_options("cell", "design", _cells)


def _cells(name: str, path: Path) -> dict[str, Any]:
    try:
        arms = enumerate(load_design(path).arms(), start=1)
    except UserError:  # whoever chooses the design is told
        return {f"{name}_01": {"name": f"${{refused_design:'{name}'}}"}}
    return {f"{name}_{i:02d}": {"defaults": [{f"override /{group}": arm[group]} for group in arm]} for i, arm in arms}


OmegaConf.register_new_resolver("refused_design", lambda name: load_design(yaml_files("design")[name]), replace=True)


def load_design(path: Path) -> Design:
    """Return the design of a file.

    Raises:
        UserError: if it has another form, too many arms, or a fraction in which main effects cannot be told apart.
    """
    try:
        content = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
    return parse_design(content, str(path))


def parse_design(content: Any, source: str) -> Design:
    """Return the design of the content of a file.

    Args:
        content: what the file holds.
        source: its name, for the message.

    Raises:
        UserError: as `load_design`.
    """
    if not isinstance(content, dict) or not {*content} <= {"factors", "fraction"} or "factors" not in content:
        raise UserError(f"{source}: a design has `factors` and perhaps `fraction`, and nothing else.")
    factors, typed = _checked_factors(content["factors"], source), str(content.get("fraction", 1))
    if typed not in _FRACTIONS:
        raise UserError(f"{source}: fraction={typed} is not allowed: it must be 1, 2, 4, 8, ... up to 512.")
    fraction, levels = int(typed), [len(options) for options in factors.values()]
    if fraction > 1 and {*levels} != {2}:
        raise UserError(f"{source}: fraction={fraction} wants two options of each factor: list two, or take all arms.")
    if math.prod(levels) // fraction > _MOST_ARMS:
        raise UserError(f"{source}: it has {math.prod(levels) // fraction} arms, and {_MOST_ARMS} are the most.")
    words = _best_words(len(levels), fraction.bit_length() - 1)
    if words is None:
        raise UserError(
            f"{source}: fraction={fraction} is not allowed: it would mix the main effects of {len(levels)} factors."
        )
    return Design(factors, fraction, words)


def _checked_factors(content: Any, source: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(content, dict) or not 2 <= len(content) <= _MOST_FACTORS:
        raise UserError(f"{source}: factors must be 2 to {_MOST_FACTORS} groups, each with a list of options.")
    factors = {}
    for group, options in content.items():
        if not isinstance(options, list) or len({*map(str, options)}) != len(options) or len(options) < 2:
            raise UserError(
                f"{source}: factors: {group}={options} is not allowed: it must be a list of two options or more."
            )
        factors[str(group)] = tuple(map(str, options))
    return factors


def _best_words(factors: int, added: int) -> tuple[Word, ...] | None:
    """Return the defining relation of the best fraction 1 / 2**added; None if none keeps main effects apart."""
    kept = range(factors - added)
    products = [frozenset(chosen) for size in kept for chosen in itertools.combinations(kept, size + 1) if size]
    best: tuple[tuple[int, ...], tuple[Word, ...]] | None = None
    for chosen in itertools.combinations(products, added):
        generators = [word | {factors - added + i} for i, word in enumerate(chosen)]
        words = _span(generators)
        lengths = tuple(sorted(map(len, words)))
        if lengths and lengths[0] < 3:
            continue
        # Longer shortest words first; of equal ones, the fewest of that length, and so on for the next length.
        rank = tuple(-sum(1 for n in lengths if n == length) for length in range(3, factors + 1))
        if best is None or rank > best[0]:
            best = rank, tuple(words)
    return best[1] if best else None


def _span(generators: Sequence[Word]) -> list[Word]:
    """Return all products of the generators but the empty one."""
    words: list[Word] = [frozenset()]
    for generator in generators:
        words += [word ^ generator for word in words]
    return words[1:]
