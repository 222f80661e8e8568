"""The closed formulas agree with a built model, and the solver with the pairs of the report."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lmablate.errors import UserError
from lmablate.model.size import Matched, Shape, reference_shape, solve_d_ff

SMALL = Shape(
    vocab_size=10_000,
    d_model=256,
    n_layers=4,
    n_heads=4,
    d_ff=1024,
    context_length=256,
    mlp_matrices=2,
    tied=True,
    learned_positions=False,
    norm_params=2 * 256,
    final_norm=False,
)
DEEP = replace(SMALL, d_model=384, n_layers=10, n_heads=6, d_ff=1536, norm_params=2 * 384)

shapes = st.builds(
    Shape,
    vocab_size=st.integers(50, 500),
    d_model=st.sampled_from([16, 32, 48]),
    n_layers=st.integers(1, 3),
    n_heads=st.sampled_from([1, 2, 4]),
    d_ff=st.integers(1, 100),
    context_length=st.integers(2, 12),
    mlp_matrices=st.sampled_from([2, 3]),
    tied=st.booleans(),
    learned_positions=st.booleans(),
    norm_params=st.just(0),
    final_norm=st.booleans(),
).flatmap(lambda s: st.sampled_from([replace(s, norm_params=s.d_model), replace(s, norm_params=2 * s.d_model)]))


class PlainBlock(nn.Module):
    """A block of torch's own parts, written for counting alone."""

    def __init__(self, shape: Shape, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        d = shape.d_model
        self.n_heads = shape.n_heads
        self.norm_1, self.norm_2 = norm(d), norm(d)
        self.query, self.key, self.value, self.out = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.up = nn.ModuleList(nn.Linear(d, shape.d_ff, bias=False) for _ in range(shape.mlp_matrices - 1))
        self.down = nn.Linear(shape.d_ff, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm_1(x))
        y = self.norm_2(x)
        hidden = torch.stack([up(y) for up in self.up]).prod(0)
        return x + self.down(hidden)

    def attend(self, x: Tensor) -> Tensor:
        maps = (self.query, self.key, self.value)
        q, k, v = (m(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for m in maps)
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        weights = (q @ k.transpose(-1, -2) + mask).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(-2))


class Plain(nn.Module):
    """A Transformer of torch's own parts, written for counting alone."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.d_model
        norm = nn.LayerNorm if shape.norm_params == 2 * d else nn.RMSNorm
        self.tokens = nn.Embedding(shape.vocab_size, d)
        self.positions = nn.Embedding(shape.context_length, d) if shape.learned_positions else None
        self.blocks = nn.ModuleList(PlainBlock(shape, norm) for _ in range(shape.n_layers))
        self.final_norm = norm(d) if shape.final_norm else nn.Identity()
        self.head = nn.Linear(d, shape.vocab_size, bias=False)
        if shape.tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


@given(shape=shapes)
def test_parameters_equal_those_of_a_built_model(shape):
    model = Plain(shape)
    assert shape.parameters() == sum(p.numel() for p in model.parameters())
    assert shape.non_embedding_parameters() == sum(
        p.numel() for name, p in model.named_parameters() if name.startswith(("blocks", "final_norm"))
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("mlp_matrices", [2, 3])
def test_flops_equal_those_that_torch_counts(tied, mlp_matrices):
    shape = replace(
        SMALL,
        vocab_size=97,
        d_model=32,
        n_layers=2,
        d_ff=40,
        context_length=24,
        norm_params=64,
        tied=tied,
        mlp_matrices=mlp_matrices,
    )
    model, ids = Plain(shape), torch.randint(97, (3, shape.context_length))
    with FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    assert counter.get_total_flops() == shape.flops_per_token() * ids.numel()


def test_the_sizes_in_the_report_are_those_of_the_formula():
    assert round(SMALL.parameters() / 1e6, 2) == 5.71
    assert round(replace(SMALL, tied=False).parameters() / 1e6, 2) == 8.27
    # The report counts its 21.53 M without the norms, which the other two figures cannot tell apart.
    assert round(replace(DEEP, norm_params=0).parameters() / 1e6, 2) == 21.53


def test_untying_at_equal_parameters_gives_the_d_ff_of_the_report():
    untied = replace(DEEP, tied=False)
    target = reference_shape(untied)
    assert target == DEEP
    d_ff = solve_d_ff(untied, target.parameters(), by="params", multiple_of=64)
    assert d_ff == 1024
    assert round(replace(untied, d_ff=d_ff, norm_params=0).parameters() / 1e6, 2) == 21.44


def test_swiglu_at_equal_size_has_two_thirds_of_the_width():
    swiglu = replace(SMALL, mlp_matrices=3)
    params, flops = reference_shape(swiglu).parameters(), reference_shape(swiglu).flops_per_token()
    assert solve_d_ff(swiglu, params, by="params") == pytest.approx(1024 * 2 / 3, abs=4)
    assert solve_d_ff(swiglu, flops, by="flops") == pytest.approx(1024 * 2 / 3, abs=4)


@given(
    shape=shapes,
    by=st.sampled_from(["params", "flops"]),
    multiple_of=st.sampled_from([1, 8]),
    d_ff=st.integers(1, 500),
)
def test_the_solver_finds_the_nearest_multiple(shape: Shape, by: str, multiple_of: int, d_ff: int):
    size = {"params": Shape.parameters, "flops": Shape.flops_per_token}[by]
    target = size(replace(shape, d_ff=d_ff))
    found = solve_d_ff(shape, target, by=by, multiple_of=multiple_of, tolerance=1e9)
    candidates = range(multiple_of, 600, multiple_of)
    nearest = min(abs(size(replace(shape, d_ff=k)) - target) for k in candidates)
    assert found % multiple_of == 0
    assert abs(size(replace(shape, d_ff=found)) - target) == nearest


def test_a_target_out_of_reach_is_refused_with_the_nearest_d_ff():
    with pytest.raises(UserError, match=r"the nearest is d_ff=8 with "):
        solve_d_ff(SMALL, 1_000_000)
    with pytest.raises(UserError, match=r"d_ff=1024 with 5,709,824, which misses by 0\.5%"):
        solve_d_ff(SMALL, 5_740_000, multiple_of=512, tolerance=0.001)


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 0}, {"n_heads": 3}, {"n_heads": 0}, {"mlp_matrices": 4}, {"d_ff": -8}, {"norm_params": -1},
        {"d_model": 16.0}, {"vocab_size": "97"}, {"n_layers": True}, {"d_ff": None}, {"tied": "no"}, {"final_norm": 1},
    ],
)  # fmt: skip
@pytest.mark.usefixtures("in_a_notebook")
def test_impossible_shapes_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(SMALL, **change)


def test_an_unknown_measure_is_refused():
    with pytest.raises(UserError, match="match=size"):
        solve_d_ff(SMALL, 1, by="size")


@pytest.mark.parametrize("target", [0, -5, 1e6, "1000", None])
@pytest.mark.usefixtures("in_a_notebook")
def test_a_target_that_is_no_size_is_named(target):
    with pytest.raises(UserError, match="target="):
        solve_d_ff(SMALL, target)


def test_a_wrong_match_is_refused_when_it_is_built() -> None:
    with pytest.raises(UserError, match=r"match=nonsense is not allowed: it must be one of params, flops\."):
        Matched(by="nonsense")
    with pytest.raises(UserError, match="multiple_of=0 is not allowed"):
        Matched(by="params", multiple_of=0)
