"""Small models and batches for the tests, and the comparisons that they share."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from lmablate.model import PreNorm, RoPE, Scaled, SwiGLU, TiedHead, Transformer

VOCAB, CONTEXT = 61, 12


def small_model(**changes: Any) -> Transformer:
    """A Llama-like model of 2 layers; `changes` are keywords of `Transformer`."""
    parts: dict[str, Any] = dict(norm=PreNorm, pos=RoPE, act=SwiGLU, tying=TiedHead, init=Scaled())
    sizes = dict(vocab_size=VOCAB, d_model=16, n_layers=2, n_heads=2, d_ff=24, context_length=CONTEXT)
    return Transformer(**{**sizes, **parts, **changes})


def random_tokens(*shape: int, vocab: int = VOCAB, seed: int = 0) -> Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, grad: bool = False) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    return x.requires_grad_(grad)


def value_and_gradients(f: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Return f's value, and the gradients of a fixed random projection of it with respect to every input."""
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    value = f(*inputs)
    direction = normal(*value.shape, seed=99, dtype=value.dtype)
    return [value.detach(), *torch.autograd.grad(value, inputs, direction)]


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradient of each parameter; all must have one."""
    found = [parameter.grad for parameter in parameters]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def assert_same(
    got: list[Tensor], expected: list[Tensor], *, rtol: float | None = None, atol: float | None = None
) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
