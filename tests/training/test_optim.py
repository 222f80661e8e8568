"""AdamW, the schedule, clipping and one whole step, each compared with torch's own or with the paper's equation."""

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model import LayerNorm, Learned, PostNorm
from lmablate.training.optim import AdamW, adamw_update, clip_grad_norm_, cosine_schedule, decay_groups, grad_norms
from lmablate.training.step import NextTokenLoss, train_step
from tests.model.helpers import CONTEXT, assert_same, normal, random_tokens, small_model

SETTINGS: dict[str, Any] = dict(lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)


def with_gradients(seed: int, scale: float = 1.0) -> list[nn.Parameter]:
    params = [nn.Parameter(normal(*shape, seed=seed)) for shape in ((3, 4), (5,), (2, 2, 2))]
    for i, p in enumerate(params):
        p.grad = normal(*p.shape, seed=100 + seed + i) * scale
    return params


def gradients(params: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


def test_adamw_is_torchs_for_a_hundred_steps():
    params, expected = with_gradients(0), with_gradients(0)
    pairs = (params, AdamW(params, **SETTINGS)), (expected, torch.optim.AdamW(expected, **SETTINGS))
    for step in range(100):
        for parameters, optimizer in pairs:
            for i, p in enumerate(parameters):
                p.grad = normal(*p.shape, seed=10 * step + i) * 10 ** ((step % 7) - 3)
            optimizer.param_groups[0]["lr"] = 3e-3 / (1 + step)
            optimizer.step()
    assert_same([p.detach() for p in params], [p.detach() for p in expected], rtol=1e-5, atol=1e-6)


def test_the_step_over_all_tensors_is_the_papers_for_each():
    params = with_gradients(1)
    optimizer = AdamW(params, **SETTINGS)
    expected = [(p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)) for p in params]
    for t in range(1, 6):
        expected = [
            adamw_update(p, grad, m, v, t=t, **SETTINGS)
            for (p, m, v), grad in zip(expected, gradients(params), strict=True)
        ]
        optimizer.step()
    assert_same([p.detach() for p in params], [p.detach() for p, _, _ in expected])
    assert_same([optimizer.state[p]["exp_avg_sq"] for p in params], [v for _, _, v in expected])


def test_the_first_step_is_the_learning_rate_in_size():
    p = nn.Parameter(torch.zeros(3))
    p.grad = torch.tensor([1e-3, -5.0, 1e4])
    AdamW([p], lr=0.01, weight_decay=0.0).step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.01, 0.01, -0.01]), rtol=1e-4, atol=0)


def test_decay_alone_shrinks_and_no_gradient_is_left_alone():
    decayed, untouched = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    decayed.grad = torch.zeros(2)
    AdamW([decayed, untouched], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(decayed.detach(), torch.full((2,), 0.95))
    assert torch.equal(untouched, torch.ones(2))


def test_the_state_survives_a_save_and_a_load():
    params, twins = with_gradients(2), with_gradients(2)
    optimizer, other = AdamW(params, **SETTINGS), AdamW(twins, **SETTINGS)
    optimizer.step()
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p, twin in zip(params, twins, strict=True):
        twin.data.copy_(p.data)
    optimizer.step()
    other.step()
    assert_same([p.detach() for p in params], [p.detach() for p in twins], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("eps", -1e-8), ("weight_decay", -0.1),
     ("betas", (0.9, 1.0)), ("betas", (-0.1, 0.9)), ("betas", (0.9,))],
)  # fmt: skip
def test_a_hyper_parameter_out_of_range_is_named(key, value):
    with pytest.raises(UserError, match=rf"optim\.{key}="):
        AdamW([nn.Parameter(torch.zeros(1))], **{key: value})


def test_matrices_decay_and_vectors_do_not():
    model = small_model(norm=lambda *a: PostNorm(*a, kind="layernorm"), pos=Learned)
    matrices, vectors = decay_groups(model, 0.1)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert sum(len(group["params"]) for group in (matrices, vectors)) == len(list(model.parameters()))
    norms = [p for module in model.modules() if isinstance(module, LayerNorm) for p in module.parameters()]
    assert {id(p) for p in vectors["params"]} == {id(p) for p in norms}


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0, math.inf])
def test_clipping_is_torchs_and_returns_the_norm_before(max_norm):
    params, expected = with_gradients(3), with_gradients(3)
    before = clip_grad_norm_(params, max_norm)
    torch.testing.assert_close(before, nn.utils.clip_grad_norm_(expected, max_norm))
    assert_same(gradients(params), gradients(expected))
    after = torch.cat([grad.flatten() for grad in gradients(params)]).norm()
    assert after <= max_norm * (1 + 1e-5)
    assert after == pytest.approx(min(before.item(), max_norm), rel=1e-4)


def test_gradient_norms_come_in_order():
    params = with_gradients(4)
    torch.testing.assert_close(grad_norms(params), torch.stack([grad.norm() for grad in gradients(params)]))


def test_the_schedule_is_torchs():
    """LinearLR into CosineAnnealingLR, which reaches its floor at the last step."""
    lr, min_lr, warmup, steps = 1e-2, 1e-3, 10, 60
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - 1 - warmup, eta_min=min_lr)
    reference = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    for step in range(steps):
        rate = cosine_schedule(step, lr=lr, min_lr=min_lr, warmup_steps=warmup, max_steps=steps)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6), step
        optimizer.step()
        reference.step()


@given(
    steps=st.integers(1, 500),
    warmup=st.integers(0, 600),
    lr=st.floats(1e-6, 1.0),
    floor=st.floats(0, 1),
)
def test_the_schedule_rises_falls_and_stays_in_range(steps, warmup, lr, floor):
    settings = dict(lr=lr, min_lr=lr * floor, warmup_steps=warmup, max_steps=steps)
    rates = [cosine_schedule(step, **settings) for step in range(steps)]
    top = min(warmup, steps)
    assert all(0 < rate <= lr * (1 + 1e-9) for rate in rates) or lr * floor == 0  # which may underflow
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(rates[:top]))
    assert all(a >= b * (1 - 1e-9) for a, b in pairwise(rates[top:]))
    if steps > warmup + 1:
        assert rates[-1] == pytest.approx(lr * floor)


def test_two_hundred_steps_are_those_of_torchs_optimizer_and_loss():
    """`train_step` (chunked loss, clipping, AdamW) and torch's parts, on the same model and batches."""
    model, expected_model = small_model(), small_model()
    loss_of = NextTokenLoss(model)
    optimizer = AdamW(decay_groups(model, 0.1), eps=1e-6)
    reference = torch.optim.AdamW(decay_groups(expected_model, 0.1), betas=(0.9, 0.95), eps=1e-6)
    loss = torch.tensor(math.inf)
    text = random_tokens(100, seed=5)
    for step in range(200):
        start = torch.randint(len(text) - CONTEXT, (4,), generator=torch.Generator().manual_seed(step))
        rows = text[start[:, None] + torch.arange(CONTEXT + 1)]
        batch = rows[:, :-1], rows[:, 1:]
        lr = cosine_schedule(step, lr=3e-3, min_lr=3e-4, warmup_steps=20, max_steps=200)
        loss, norm = train_step(loss_of, optimizer, batch, lr=lr, grad_clip=1.0)

        expected = F.cross_entropy(expected_model(batch[0]).flatten(0, 1), batch[1].flatten())
        expected.backward()
        expected_norm = nn.utils.clip_grad_norm_(expected_model.parameters(), 1.0)
        for group in reference.param_groups:
            group["lr"] = lr
        reference.step()
        reference.zero_grad()
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(norm, expected_norm, rtol=1e-3, atol=1e-3)
    assert loss < 2.5, "nothing was learned"
    assert_same(
        [p.detach() for p in model.parameters()],
        [p.detach() for p in expected_model.parameters()],
        rtol=1e-3,
        atol=1e-3,
    )
