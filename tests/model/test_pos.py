import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.model import ALiBi, Learned, NoPE, RoPE, Sinusoidal
from lmablate.model.rope import turn, turn_plain
from tests.model.helpers import assert_same, normal, value_and_gradients


def turns(length: int, pairs: int, theta: float = 10_000.0) -> torch.Tensor:
    """exp(j t theta^(-i/pairs)), equation 34's angles, computed here in complex128."""
    angle = torch.outer(torch.arange(length).double(), theta ** (-torch.arange(pairs).double() / pairs))
    return torch.polar(torch.ones_like(angle), angle)


def test_rope_is_complex_multiplication_of_adjacent_pairs():
    q, k = normal(2, 3, 7, 8), normal(2, 3, 7, 8, seed=1)
    rotated = RoPE(24, 3, 16).rotate(q, k)
    for x, y in zip((q, k), rotated, strict=True):
        z = torch.complex(x[..., 0::2].double(), x[..., 1::2].double()) * turns(7, 4)
        torch.testing.assert_close(y[..., 0::2].double(), z.real, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(y[..., 1::2].double(), z.imag, rtol=1e-5, atol=1e-5)


def test_complex_turns_equal_rotation_matrices_in_value_and_gradient():
    x, t = normal(2, 3, 7, 8), turns(7, 4).to(torch.complex64)
    fast, plain = (value_and_gradients(lambda x, f=f: f(x, t), x) for f in (turn, turn_plain))
    assert_same(fast, plain)
    x = normal(1, 2, 5, 4, dtype=torch.float64, grad=True)
    assert torch.autograd.gradcheck(lambda x: turn(x, turns(5, 2)), x)


@settings(max_examples=30, deadline=None)
@given(shift=st.integers(0, 3000), theta=st.floats(10, 1e6))
def test_rope_scores_depend_on_the_distance_alone(shift, theta):
    rope, q, k = RoPE(16, 2, 32, theta=theta).double(), *(normal(1, 2, 6, 8, seed=s).double() for s in (0, 1))
    near, far = ((a @ b.mT) for a, b in (rope.rotate(q, k), rope.rotate(q, k, start=shift)))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-3)  # the angles themselves are float32


def test_rope_keeps_lengths_and_does_not_turn_position_zero():
    q = normal(2, 2, 9, 8)
    rotated, _ = RoPE(16, 2, 16).rotate(q, q)
    torch.testing.assert_close(rotated.norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(rotated[:, :, 0], q[:, :, 0])


def test_tables_of_rope_and_sinusoids_grow_past_the_trained_context():
    q, x = normal(1, 2, 40, 8), normal(1, 40, 16)
    assert torch.equal(RoPE(16, 2, 8).rotate(q, q)[0], RoPE(16, 2, 64).rotate(q, q)[0])
    assert torch.equal(Sinusoidal(16, 2, 8).embed(x), Sinusoidal(16, 2, 64).embed(x))


def test_sinusoids_equal_the_formula_of_the_paper():
    table = Sinusoidal(6, 2, 50, amplitude=1.0).embed(torch.zeros(1, 50, 6))[0]
    for t in (0, 1, 17, 49):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoids_are_as_large_beside_the_embeddings_as_in_the_paper():
    """Embeddings plus waves of amplitude 1/sqrt(d) are the paper's sqrt(d) · embeddings plus waves, over sqrt(d)."""
    embeddings = normal(2, 50, 16) / 4
    papers = 4 * embeddings + Sinusoidal(16, 2, 50, amplitude=1.0).embed(torch.zeros(1, 50, 16))
    torch.testing.assert_close(4 * Sinusoidal(16, 2, 50).embed(embeddings), papers)


def test_sinusoids_of_an_odd_width_are_finite():
    assert Sinusoidal(7, 1, 10).embed(torch.zeros(1, 10, 7)).isfinite().all()


def test_alibi_lowers_a_score_by_slope_times_distance():
    bias = ALiBi(64, 8, 16).bias(torch.zeros(1, 8, 5, 5))
    for head in range(8):
        assert bias[0, head, 4, 1].item() == pytest.approx(-3 * 2.0 ** -(head + 1))
    assert torch.equal(ALiBi(64, 8, 16).bias(torch.zeros(1, 8, 2, 5)), bias[:, :, 3:])


def test_nope_changes_nothing():
    pos, x, q = NoPE(16, 2, 8), normal(1, 8, 16), normal(1, 2, 8, 8)
    assert pos.embed(x) is x
    assert pos.rotate(q, q) == (q, q)
    assert not pos.biases


def test_only_alibi_biases_the_scores():
    assert [cls(16, 2, 8).biases for cls in (NoPE, Learned, Sinusoidal, RoPE, ALiBi)] == [False] * 4 + [True]


def test_learned_positions_refuse_tokens_past_the_trained_context():
    pos = Learned(16, 2, 8)
    pos.weight.data = normal(8, 16)
    torch.testing.assert_close(pos.embed(torch.zeros(1, 3, 16), start=2)[0], pos.weight[2:5])
    with pytest.raises(UserError, match=r"8 positions.*asked for 9.*model\.context_length"):
        pos.embed(torch.zeros(1, 3, 16), start=6)


@pytest.mark.parametrize("theta", ["abc", 0, -1.0, math.inf, math.nan, True, None])
@pytest.mark.parametrize("scheme", [RoPE, Sinusoidal])
def test_a_theta_that_is_not_a_positive_number_is_refused(scheme, theta):
    with pytest.raises(UserError, match=r"model\.pos\.theta="):
        scheme(16, 2, 8, theta=theta)


def test_rope_refuses_heads_of_odd_width():
    with pytest.raises(UserError, match=r"model\.d_model=15.*model\.n_heads=3"):
        RoPE(15, 3, 8)
