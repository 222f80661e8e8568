"""Dropout is a pure function of seed, step, place, row and position, and is off outside a training step."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from lmablate.model import Dropout, ReLU2
from lmablate.model.dropout import dropping, splitmix64
from tests.model.helpers import normal, random_tokens, small_model

ROWS, TIME, D = 32, 9, 50


def mask(
    step: int = 3, *, seed: int = 0, place: str = "blocks.0.attn", rows: Tensor | None = None, p: float = 0.3
) -> Tensor:
    """What becomes of ones."""
    rows = torch.arange(ROWS) if rows is None else rows
    part = Dropout(place, seed, p=p)
    with dropping(part, step, rows):
        return part(torch.ones(len(rows), TIME, D))


def test_the_hash_is_splitmix64() -> None:
    """The first outputs for the seed 1234567, as published with the generator."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    found = splitmix64(torch.tensor(1234567), torch.arange(1, 5)).tolist()
    assert [word % 2**64 for word in found] == expected


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_stays(p: float) -> None:
    x = mask(p=p)
    n, kept = x.numel(), 1 - round(p * 2**16) / 2**16
    torch.testing.assert_close(x.unique(), torch.tensor([0.0, 1 / kept] if p else [1.0]))
    assert (x != 0).sum() == pytest.approx(kept * n, abs=5 * math.sqrt(kept * (1 - kept) * n) + 0.5)
    by_column = (x != 0).double().mean((0, 1))  # each position alike
    assert (by_column - kept).abs().max() < 5 * math.sqrt(kept * (1 - kept) / (ROWS * TIME)) + 1e-9


# Two masks that must have nothing to do with each other.
OTHERS = [mask(), mask(4), mask(seed=1), mask(place="blocks.0.mlp"), mask(place="blocks.1.attn"), mask().roll(1, 0),
          mask().roll(1, 1), mask().roll(1, 2), mask(rows=torch.arange(ROWS) + ROWS)]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [*combinations(range(len(OTHERS)), 2)])
def test_masks_of_other_steps_seeds_places_rows_and_positions_are_independent(one: int, other: int) -> None:
    agree = ((OTHERS[one] != 0) == (OTHERS[other] != 0)).double()
    chance = 0.3**2 + 0.7**2
    assert agree.mean() == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / agree.numel()))


@pytest.mark.parametrize("world_size", [2, 4])
def test_each_process_drops_what_one_process_would(world_size: int) -> None:
    for rank in range(world_size):
        rows = torch.arange(rank, ROWS, world_size)
        assert torch.equal(mask(rows=rows), mask()[rows])


def test_arms_drop_the_same_numbers() -> None:
    """Another activation does not change the mask behind it."""
    arms = [small_model(dropout=Dropout, seed=5, **change) for change in ({}, {"act": ReLU2})]
    masks = []
    for model in arms:
        with dropping(model, 7, torch.arange(2)):
            masks.append([block.drop_2(torch.ones(2, 5, 16)) for block in model.blocks])
    for one, other in zip(*masks, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(*masks[0])


def test_a_model_drops_nothing_outside_a_training_step() -> None:
    dropped, plain, tokens = small_model(dropout=Dropout), small_model(), random_tokens(2, 5)
    assert torch.equal(dropped(tokens), plain(tokens))
    with dropping(dropped, 0, torch.arange(2)):
        first = dropped(tokens)
        assert not torch.allclose(first, plain(tokens))
        assert torch.equal(first, dropped(tokens))
    assert torch.equal(dropped(tokens), plain(tokens))
    assert not torch.equal(first, within(dropped, 1, tokens))


def within(model: torch.nn.Module, step: int, tokens: Tensor) -> Tensor:
    with dropping(model, step, torch.arange(len(tokens))):
        return model(tokens)


def test_the_gradient_passes_where_a_number_is_kept() -> None:
    part, x = Dropout("here", p=0.25), normal(2, 5, 8, grad=True)
    with dropping(part, 0, torch.arange(2)):
        y = part(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (y != 0) / 0.75)


def test_every_branch_and_the_embedding_are_dropped() -> None:
    model = small_model(dropout=Dropout)
    places = [part.place for part in model.modules() if isinstance(part, Dropout)]
    assert sorted(places) == ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp", "embed"]
