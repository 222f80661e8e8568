"""Covering arrays: few combinations in which each pair of choices of two groups occurs at least once."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lmablate.config.schema import CONF, MODEL_GROUPS
from lmablate.model.norm import NORMS


def covering_array(groups: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return rows of one choice per group, so that every pair of choices of two groups is in some row.

    Each row begins with a pair that is in no row yet; the other groups take the choice that adds most new pairs.
    """
    uncovered = {
        frozenset(pair)
        for (one, choices), (other, others) in itertools.combinations(groups.items(), 2)
        for pair in itertools.product([(one, choice) for choice in choices], [(other, choice) for choice in others])
    }
    rows = []
    while uncovered:
        row = dict(min(sorted(pair) for pair in uncovered))
        for group in sorted(groups.keys() - row.keys()):
            row[group] = max(groups[group], key=partial(_gain, group, row, uncovered))
        uncovered -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        rows.append({group: row[group] for group in groups})
    return rows


def _gain(group: str, row: Mapping[str, str], uncovered: set[frozenset[tuple[str, str]]], choice: str) -> int:
    """Return how many new pairs a choice of `group` makes with those of `row`."""
    return sum(frozenset(((group, choice), fixed)) in uncovered for fixed in row.items())


OPTIONS = {slot: sorted(path.stem for path in Path(CONF, "model", slot).glob("*.yaml")) for slot in MODEL_GROUPS}
# Each pair of choices of two groups of the model, and of the kinds of norm, is in at least one of these.
COMBINATIONS = covering_array({**OPTIONS, "kind": [*NORMS]})


def with_choices(base: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """Return `base` with the yaml of each choice in its slot, and with norms of the kind."""
    cfg = base.copy()
    for slot in OPTIONS:
        cfg.model[slot] = OmegaConf.load(Path(CONF, "model", slot, f"{choices[slot]}.yaml"))
    cfg.model.norm.kind = choices["kind"]
    if "base_d_model" in cfg.model.scaling:
        cfg.model.scaling.base_d_model = (
            8  # the models of the tests are wider: muP enlarges the logits of narrower ones
        )
    return cfg
