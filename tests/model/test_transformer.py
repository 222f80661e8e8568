import copy
import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lmablate.config.build import build_model, model_shape, resolve_config
from lmablate.errors import UserError
from lmablate.model import (
    ALiBi,
    Learned,
    NoPE,
    Position,
    PostNorm,
    PreNorm,
    RoPE,
    Sinusoidal,
    TiedHead,
    UntiedHead,
    attention,
    cross_entropy,
    self_attention,
)
from tests.model.helpers import CONTEXT, random_tokens, small_model

POSITIONS = [RoPE, Sinusoidal, Learned, NoPE, ALiBi]


class Reference(nn.Module):
    """The Llama-like model written a second time, with torch's own parts and without any code of lmablate."""

    def __init__(self, weights: dict[str, torch.Tensor], n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.w, self.n_layers, self.n_heads = weights, n_layers, n_heads

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], self.w[f"{name}.weight"], eps=1e-5)

    def heads(self, x: torch.Tensor, name: str) -> torch.Tensor:
        x = F.linear(x, self.w[f"{name}.weight"])
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def rope(self, x: torch.Tensor) -> torch.Tensor:
        pairs = x.shape[-1] // 2
        frequency = 10_000.0 ** (-torch.arange(pairs) / pairs)
        angle = torch.outer(torch.arange(x.shape[2]), frequency)
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, pairs, 2, 2)
        return torch.einsum("tpij,bhtpj->bhtpi", rotation, x.unflatten(-1, (pairs, 2))).flatten(-2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.w["embed.weight"][tokens]
        for i in range(self.n_layers):
            b = f"blocks.{i}"
            y = self.norm(x, f"{b}.norm_1")
            q, k, v = (self.heads(y, f"{b}.attn.{n}") for n in "qkv")
            y = F.scaled_dot_product_attention(self.rope(q), self.rope(k), v, is_causal=True)
            x = x + F.linear(y.transpose(1, 2).flatten(2), self.w[f"{b}.attn.o.weight"])
            y = self.norm(x, f"{b}.norm_2")
            gate, up = (F.linear(y, self.w[f"{b}.mlp.{n}.weight"]) for n in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, self.w[f"{b}.mlp.down.weight"])
        return F.linear(self.norm(x, "norm"), self.w["embed.weight"])


def test_the_model_equals_one_written_with_torchs_parts():
    model, tokens = small_model(), random_tokens(3, CONTEXT)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    logits, expected = model(tokens), Reference(weights, 2, 2)(tokens)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pos", POSITIONS)
@torch.no_grad()
def test_the_rows_of_a_batch_do_not_influence_each_other(pos):
    model, tokens = small_model(pos=pos), random_tokens(4, CONTEXT)
    rows = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), rows)


@pytest.mark.parametrize("norm", [PreNorm, PostNorm])
@pytest.mark.parametrize("pos", POSITIONS)
@torch.no_grad()
def test_logits_with_a_cache_equal_those_of_recomputation(pos, norm):
    model, tokens = small_model(pos=pos, norm=norm), random_tokens(3, CONTEXT)
    whole, cache = model(tokens), model.new_cache()
    pieces = [model(tokens[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 10), (10, 11), (11, 12))]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    assert [layer.length for layer in cache] == [CONTEXT] * len(model.blocks)
    assert torch.equal(model(tokens), whole)  # the model itself keeps nothing of the cache


@torch.no_grad()
def test_two_caches_in_turn_do_not_influence_each_other():
    model, texts = small_model(), [random_tokens(2, CONTEXT, seed=seed) for seed in (0, 1)]
    caches = [model.new_cache(), model.new_cache()]
    pieces: list[list[torch.Tensor]] = [[], []]
    for a, b in ((0, 5), (5, 6), (6, 12)):
        for text, cache, found in zip(texts, caches, pieces, strict=True):
            found.append(model(text[:, a:b], cache))
    for text, found in zip(texts, pieces, strict=True):
        torch.testing.assert_close(torch.cat(found, dim=1), model(text))


@pytest.mark.parametrize("pos", [RoPE, Sinusoidal, NoPE, ALiBi])
@torch.no_grad()
def test_text_longer_than_the_trained_context_does_not_change_the_logits_of_its_beginning(pos):
    model, tokens = small_model(pos=pos), random_tokens(2, 3 * CONTEXT)
    logits = model(tokens)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:, :CONTEXT], model(tokens[:, :CONTEXT]))


def test_learned_positions_refuse_text_longer_than_the_trained_context():
    with pytest.raises(UserError, match="do not extend past"):
        small_model(pos=Learned)(random_tokens(1, CONTEXT + 1))


@pytest.mark.parametrize("key", ["d_model", "n_layers", "n_heads", "d_ff", "context_length"])
def test_a_size_below_one_is_refused_with_its_key(key):
    with pytest.raises(UserError, match=rf"model\.{key}=0"):
        small_model(**{key: 0})


@pytest.mark.parametrize("tying", [TiedHead, UntiedHead])
def test_a_deep_copy_computes_the_same_and_shares_nothing(tying):
    model, tokens = small_model(tying=tying), random_tokens(2, CONTEXT)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(tokens), model(tokens))
    with torch.no_grad():
        twin.embed.weight.mul_(2)
    twin(tokens).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(twin.output_weight, model.output_weight * (2 if tying is TiedHead else 1))
    assert not {t.data_ptr() for t in tensors_of(twin)} & {t.data_ptr() for t in tensors_of(model)}
    before = twin(tokens)
    twin.pos = NoPE(16, 2, CONTEXT)
    assert not torch.equal(twin(tokens), before), "the copy's layers use another scheme than the copy's own"


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


@torch.no_grad()
def test_the_position_scheme_is_one_module_of_the_model_and_of_no_layer():
    model = small_model()
    model(random_tokens(2, CONTEXT))
    assert [name for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, Position)] == ["pos"]


@pytest.mark.parametrize("pos", POSITIONS)
def test_a_cast_to_another_precision_reaches_every_part(pos):
    model, tokens = small_model(pos=pos), random_tokens(2, CONTEXT)
    expected = model(tokens)
    double = model.double()(tokens)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, expected.double(), rtol=1e-4, atol=1e-4)
    half = model.bfloat16()(tokens)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.2)


def test_the_state_dict_holds_every_weight_once_and_loads_into_another_model():
    model, other = small_model(), small_model(seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(random_tokens(1, 5)), model(random_tokens(1, 5)))
    assert sum(t.numel() for t in model.state_dict().values()) == sum(p.numel() for p in model.parameters())


def count_tensors_in_memory() -> int:
    gc.collect()
    return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())


@torch.no_grad()
def test_a_forward_pass_without_gradients_keeps_no_tensor():
    model = small_model()
    out = model(random_tokens(2, CONTEXT))
    assert out.grad_fn is None
    del out
    before = count_tensors_in_memory()
    model(random_tokens(2, CONTEXT))
    assert count_tensors_in_memory() == before


@pytest.mark.parametrize(
    "choices",
    [
        "",
        "pos=learned tying=false",
        "act=geglu norm=post",
        "attn=gqa",
        "attn=mqa values=residual",
        "gate=head norm=peri",
    ],
)
def test_the_flops_formula_equals_torchs_count_of_the_plain_model(choices, compose_config, monkeypatch):
    overrides = [f"model/{choice}" for choice in choices.split()]
    sizes = ("d_model=32", "n_layers=2", "n_heads=4", "d_ff=48", "context_length=16")
    cfg = compose_config(*overrides, *(f"model.{size}" for size in sizes))
    model, tokens = build_model(cfg), random_tokens(3, 16)
    monkeypatch.setattr(self_attention, "causal_attention", lambda q, k, v, pos: attention(q, k, v, pos.bias))
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens), tokens).mean().backward()
    assert counter.get_total_flops() == tokens.numel() * model_shape(cfg).flops_per_token()


@pytest.mark.parametrize(
    ("overrides", "d_ff", "millions"),
    [
        (["arch=vanilla"], 1024, 5.71),
        (["experiment=weight_tying"], 1536, 21.53),
        (["experiment=weight_tying", "model/tying=false"], 1024, 21.44),
    ],
)
def test_the_models_of_the_report_have_the_sizes_in_the_report(overrides, d_ff, millions, compose_config):
    """The report counts its 21.53 M and 21.44 M without the norms' vectors."""
    cfg = resolve_config(compose_config("scale=report", *overrides))
    model = build_model(cfg, "meta")
    matrices = sum(p.numel() for p in model.parameters() if p.dim() >= 2)
    assert (cfg.model.d_ff, round(matrices / 1e6, 2)) == (d_ff, millions)
    assert sum(p.numel() for p in model.parameters()) == model_shape(cfg).parameters()
