"""Checks that every variant of the model has to pass, for the tests of a project that has variants of its own.

import pytest
from lmablate.testing import check_variant, own_variants

@pytest.mark.parametrize("choice", own_variants())
def test_a_variant_is_sound(choice):
check_variant(choice)
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmablate.config.build import build_model, check_config, model_shape
from lmablate.config.compose import compose_config, config_folder
from lmablate.config.project import conf_folders
from lmablate.config.schema import MODEL_GROUPS
from lmablate.model import Transformer, attention, cross_entropy, self_attention

VOCAB, CONTEXT = 257, 12
TINY = (
    "model.d_model=16", "model.n_layers=2", "model.n_heads=4", "model.d_ff=24", f"model.context_length={CONTEXT}",
    f"tokenizer.vocab_size={VOCAB}", "tracking=none",
)  # fmt: skip


def own_variants() -> list[str]:
    """Return every choice of the model's groups that the project adds, such as "model/pos=mine"."""
    return [
        f"model/{group}={path.stem}"
        for folder in conf_folders()[:-1]
        for group in MODEL_GROUPS
        for path in sorted((folder / "model" / group).glob("*.yaml"))
    ]


def check_variant(*choices: str) -> None:
    """Build a tiny model with these overrides, and apply every check.

    Args:
        choices: overrides, such as "model/pos=mine".

    Raises:
        AssertionError: if a value or gradient is not finite, a parameter has no gradient, a token sees its future,
            layers share a part, the size is not the declared one, or the fast attention differs from the plain one.
    """
    with config_folder():
        cfg = compose_config([*TINY, *choices])
    check_config(cfg)
    model = build_model(cfg)
    check_model(model)
    size, declared = sum(p.numel() for p in model.parameters()), model_shape(cfg).parameters()
    assert size == declared, f"the model has {size} parameters, but its parts declare {declared}"


def check_model(model: Transformer) -> None:
    """Apply every check that needs no config; the model has VOCAB tokens and a context of CONTEXT.

    A part that starts at zero is moved away from it first, because what depends on it has no gradient there.

    Raises:
        AssertionError: if one fails.
    """
    _leave_zero(model)
    tokens = torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    loss, logits, embedded = _run(model, tokens)
    _check_gradients(model, loss)
    _check_causality(logits, embedded)
    _check_layers(model)
    _check_attention(model)


@torch.no_grad()
def _leave_zero(model: Transformer) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(0.0, 0.5, generator=generator)


def _run(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run a forward and a backward pass. Return the mean loss on random targets, the logits, and the embeddings."""
    seen: list[Tensor] = []

    def note_output(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append(output)

    with model.embed.register_forward_hook(note_output):
        logits = model(tokens)
    targets = torch.randint(VOCAB, tokens.shape, generator=torch.Generator().manual_seed(1))
    loss = cross_entropy(logits, targets).mean()
    loss.backward(retain_graph=True)
    return loss, logits, seen[0]


def _check_gradients(model: Transformer, loss: Tensor) -> None:
    assert loss.isfinite(), "the first loss is not finite"
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient: no output depends on it"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), f"the gradient of {name} is zero"


def _check_causality(logits: Tensor, embedded: Tensor) -> None:
    for t in (0, CONTEXT // 2, CONTEXT - 2):
        (gradient,) = torch.autograd.grad(logits[:, t].sum(), embedded, retain_graph=True)
        assert (gradient[:, t + 1 :] == 0).all(), f"the output at position {t} depends on later tokens"
        assert (gradient[:, : t + 1] != 0).any(-1).all(), f"the output at position {t} ignores an earlier token"


def _check_layers(model: Transformer) -> None:
    modules = [module for block in model.blocks for module in block.modules()]
    assert len({id(module) for module in modules}) == len(modules), "two layers share a part"
    parameters = [parameter for module in modules for parameter in module.parameters(recurse=False)]
    assert len({parameter.data_ptr() for parameter in parameters}) == len(parameters), "two layers share a parameter"


def _check_attention(model: Transformer) -> None:
    """Compare the fast form of attention, as this model's layer calls it, to the plain one: values and gradients."""
    attn, pos = model.blocks[0].attn, model.pos
    generator = torch.Generator().manual_seed(2)
    heads = (attn.n_heads, attn.n_kv_heads, attn.n_kv_heads)
    q, k, v = (torch.randn(2, n, 100, attn.d_head, generator=generator).requires_grad_() for n in heads)
    trained = [q, k, v, *(pos.parameters() if pos.biases else ())]
    fast = attn.attend(q, k, v, attn.scores(pos))
    with _plain_attention():
        plain = attn.attend(q, k, v, attn.scores(pos))
    _check_close("attention", fast, plain)
    gradients = [torch.autograd.grad(out.square().sum(), trained) for out in (fast, plain)]
    for one, other in zip(*gradients, strict=True):
        _check_close("the gradient of attention", one, other)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention layers use the definition instead of its fast forms."""
    fast = self_attention.causal_attention
    self_attention.causal_attention = lambda q, k, v, pos: attention(q, k, v, pos.bias)
    try:
        yield
    finally:
        self_attention.causal_attention = fast


def _check_close(what: str, fast: Tensor, plain: Tensor) -> None:
    difference = (fast - plain).abs().max().item()
    allowed = 1e-4 * max(1.0, plain.abs().max().item())
    assert math.isfinite(difference), f"{what} is not finite"
    assert difference <= allowed, f"{what}: the fast form differs from the plain one by {difference:.2g}"
