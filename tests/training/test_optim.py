"""AdamW, the schedule, clipping and one whole step, each compared with torch's own or with the paper's equation."""

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model import LayerNorm, Learned, PostNorm
from lmablate.training.optim import AdamW, adamw_update, clip_grad_norm_, decay_groups, grad_norms
from lmablate.training.schedule import cosine_schedule
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


# ---- As a library: whatever torch.optim.AdamW is given, `AdamW` does the same with it ----

Make = Callable[..., torch.optim.Optimizer]


def parameters(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(normal(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(shapes)]


def steps(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], count: int = 4, skip: Any = ()) -> None:
    """Take steps with fixed gradients; parameter i has none at step t if (t, i) is in `skip`."""
    for t in range(count):
        for i, p in enumerate(params):
            p.grad = None if (t, i) in skip else normal(*p.shape, seed=10 * t + i).to(p.dtype)
        optimizer.step()


def gradients_of_some(skip: set[tuple[int, int]]) -> Callable[[Make], list[nn.Parameter]]:
    def scenario(make: Make) -> list[nn.Parameter]:
        params = parameters((3, 4), (5,), (2, 2))
        steps(make(params), params, skip=skip)
        return params

    return scenario


def of_shapes(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Callable[[Make], list[nn.Parameter]]:
    def scenario(make: Make) -> list[nn.Parameter]:
        params = parameters(*shapes, dtype=dtype)
        steps(make(params), params)
        return params

    return scenario


def of_mixed_types(make: Make) -> list[nn.Parameter]:
    params = [*parameters((3,)), *parameters((3,), dtype=torch.float64), *parameters((4,), dtype=torch.bfloat16)]
    steps(make(params), params)
    return params


def complex_numbers(make: Make) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.complex(normal(3), normal(3, seed=1)))]
    optimizer = make(params)
    for t in range(3):
        params[0].grad = torch.complex(normal(3, seed=t + 2), normal(3, seed=t + 9))
        optimizer.step()
    return params


def two_groups(make: Make) -> list[nn.Parameter]:
    a, b = parameters((3, 4), (5,))
    optimizer = make([dict(params=[a], lr=0.5, betas=(0.5, 0.6)), dict(params=[b], weight_decay=0.9, eps=1e-2)])
    steps(optimizer, [a, b], skip={(0, 1)})
    return [a, b]


def a_group_added_later(make: Make) -> list[nn.Parameter]:
    a, b = parameters((3, 4), (5,))
    optimizer = make([a])
    steps(optimizer, [a], 2)
    optimizer.add_param_group(dict(params=b, lr=0.2))
    steps(optimizer, [a, b], 2)
    return [a, b]


def an_empty_group(make: Make) -> list[nn.Parameter]:
    params = parameters((3,))
    steps(make([dict(params=[]), dict(params=params)]), params)
    return params


def named_parameters(make: Make) -> list[nn.Parameter]:
    params = parameters((3,), (2, 2))
    steps(make([("a", params[0]), ("b", params[1])]), params)
    return params


def a_frozen_parameter(make: Make) -> list[nn.Parameter]:
    a, b = parameters((3,), (3,))
    b.requires_grad_(False)
    steps(make([a, b]), [a])
    return [a, b]


def of_other_strides(make: Make) -> list[nn.Parameter]:
    params = [nn.Parameter(normal(4, 3).mT), nn.Parameter(normal(2, 3, 4, 5).to(memory_format=torch.channels_last))]
    steps(make(params), params)
    return params


def a_tensor_as_rate(make: Make) -> list[nn.Parameter]:
    params = parameters((3,))
    steps(make(params, lr=torch.tensor(0.05)), params)
    return params


def rates_of_a_scheduler(make: Make) -> list[nn.Parameter]:
    """OneCycleLR sets lr and betas, and looks for "betas" among the defaults."""
    params = parameters((3,), (4,))
    optimizer = make(params)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=6)
    for _ in range(5):
        steps(optimizer, params, 1)
        scheduler.step()
    return params


def rates_of_our_schedule(make: Make) -> list[nn.Parameter]:
    params = parameters((3,))
    optimizer = make(params, lr=1.0)
    schedule: dict[str, Any] = dict(lr=0.1, min_lr=0.01, warmup_steps=2, max_steps=5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_schedule(step, **schedule))
    for _ in range(6):
        steps(optimizer, params, 1)
        scheduler.step()
    return params


def a_closure(make: Make) -> list[nn.Parameter]:
    """The loss is computed anew in each step, with gradients although `step` itself has none."""
    params = parameters((3,))
    optimizer = make(params, lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (params[0] - 1).square().sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(4)]
    assert losses[0] > losses[3] > 0
    return [*params, nn.Parameter(torch.tensor(losses))]


def a_copy_in_the_middle(make: Make) -> list[nn.Parameter]:
    params = parameters((3,), (4,))
    optimizer = make(params)
    steps(optimizer, params, 2, skip={(0, 1)})
    params, optimizer = copy.deepcopy((params, optimizer))
    steps(optimizer, params, 2)
    return params


SCENARIOS: dict[str, Callable[[Make], list[nn.Parameter]]] = {
    "a first gradient that comes late": gradients_of_some({(0, 0)}),
    "every first gradient at another step": gradients_of_some({(0, 0), (0, 1), (1, 1)}),
    "a gradient that is missing in between": gradients_of_some({(1, 2), (2, 2)}),
    "the last gradient missing": gradients_of_some({(3, 0)}),
    "never a gradient": gradients_of_some({(t, i) for t in range(4) for i in range(3)}),
    "no elements": of_shapes((0,), (2, 0), (3,)),
    "only parameters without elements": of_shapes((0, 4)),
    "no dimensions": of_shapes((), (3,)),
    "five dimensions": of_shapes((1, 2, 1, 2, 2)),
    "float64": of_shapes((3, 4), dtype=torch.float64),
    "bfloat16": of_shapes((3, 4), dtype=torch.bfloat16),
    "mixed types": of_mixed_types,
    "complex numbers": complex_numbers,
    "two groups with settings of their own": two_groups,
    "a group added later": a_group_added_later,
    "an empty group": an_empty_group,
    "named parameters": named_parameters,
    "a frozen parameter": a_frozen_parameter,
    "strides of their own": of_other_strides,
    "a tensor as learning rate": a_tensor_as_rate,
    "a learning rate of numpy": lambda make: of_shapes((3,))(lambda p: make(p, lr=np.float64(0.25))),
    "betas in a list": lambda make: of_shapes((3,))(lambda p: make(p, betas=[0.5, 0.9])),
    "no momentum": lambda make: of_shapes((3,))(lambda p: make(p, betas=(0.0, 0.0))),
    "a learning rate of 0": lambda make: of_shapes((3,))(lambda p: make(p, lr=0)),
    "a scheduler of torch": rates_of_a_scheduler,
    "our schedule in a scheduler of torch": rates_of_our_schedule,
    "a closure": a_closure,
    "a deep copy in the middle": a_copy_in_the_middle,
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_adamw_does_what_torchs_does_with(scenario):
    def ours(params: Any, **changes: Any) -> torch.optim.Optimizer:
        return AdamW(params, **{**SETTINGS, **changes})

    def torchs(params: Any, **changes: Any) -> torch.optim.Optimizer:
        settings = {**SETTINGS, **changes}
        rate = settings["lr"] if isinstance(settings["lr"], Tensor) else float(settings["lr"])
        return torch.optim.AdamW(params, **{**settings, "lr": rate, "betas": tuple(settings["betas"])})

    got, expected = ([p.detach() for p in scenario(make)] for make in (ours, torchs))
    assert [p.dtype for p in got] == [p.dtype for p in expected]
    half = any(p.dtype == torch.bfloat16 for p in got)
    assert_same(got, expected, rtol=2e-2 if half else 1e-5, atol=2e-2 if half else 1e-6)


def test_the_bias_correction_of_a_late_gradient_is_that_of_its_own_first_step():
    early, late = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = AdamW([early, late], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    early.grad = torch.ones(1)
    optimizer.step()
    late.grad = torch.ones(1)
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([0.9]))
    assert [optimizer.state[p]["step"] for p in (early, late)] == [2, 1]


@pytest.mark.parametrize(("first", "then"), [(AdamW, torch.optim.AdamW), (torch.optim.AdamW, AdamW), (AdamW, AdamW)])
def test_one_goes_on_where_the_other_stopped(first, then):
    groups = [parameters((3, 4), (5,), (2,)) for _ in range(2)]
    whole, start = (torch.optim.AdamW(groups[0], **SETTINGS), first(groups[1], **SETTINGS))
    for optimizer, params in zip((whole, start), groups, strict=True):
        steps(optimizer, params, 3, skip={(0, 1), (0, 2), (1, 2), (2, 2)})
    rest = then(groups[1], lr=9.0)
    rest.load_state_dict(copy.deepcopy(start.state_dict()))
    for optimizer, params in zip((whole, rest), groups, strict=True):
        steps(optimizer, params, 3)
    assert_same([p.detach() for p in groups[1]], [p.detach() for p in groups[0]], rtol=1e-5, atol=1e-6)


OTHERS: dict[str, tuple[Callable[[list[nn.Parameter]], torch.optim.Optimizer], str]] = {
    "SGD": (lambda params: torch.optim.SGD(params, lr=0.1), "eps=None"),
    "momentum": (lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), "eps=None"),
    "RMSprop": (lambda params: torch.optim.RMSprop(params), "betas=None"),
    "Adamax": (lambda params: torch.optim.Adamax(params), "exp_inf"),
    "NAdam": (lambda params: torch.optim.NAdam(params), "mu_product"),
    "Adam with decay in the gradient": (lambda params: torch.optim.Adam(params, weight_decay=0.1), "decays weights"),
    "AMSGrad": (lambda params: torch.optim.AdamW(params, amsgrad=True), "amsgrad"),
    "maximize": (lambda params: torch.optim.AdamW(params, maximize=True), "maximize"),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_the_state_of_an_optimizer_that_computes_something_else_is_refused(other, message):
    params = parameters((3,))
    optimizer, ours = other(params), AdamW(params)
    steps(optimizer, params, 1)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(UserError, match=message):
        ours.load_state_dict(optimizer.state_dict())
    assert ours.state_dict() == before


def sparse() -> nn.Parameter:
    p = nn.Parameter(torch.ones(3, 2))
    p.grad = torch.eye(3)[:, :2].to_sparse()
    return p


@pytest.mark.parametrize(
    "use", [lambda p: AdamW([p]).step(), lambda p: clip_grad_norm_([p], 1.0), lambda p: grad_norms([p])]
)
def test_a_sparse_gradient_is_refused_in_a_sentence(use):
    p = sparse()
    with pytest.raises(UserError, match="a gradient is sparse"):
        use(p)
    assert torch.equal(p, torch.ones(3, 2))


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
    [("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("lr", "0.1"), ("lr", None), ("lr", True),
     ("lr", torch.tensor(-1.0)), ("lr", torch.ones(2)), ("eps", -1e-8), ("eps", "small"), ("weight_decay", -0.1),
     ("weight_decay", [0.1]), ("betas", (0.9, 1.0)), ("betas", (-0.1, 0.9)), ("betas", (0.9,)), ("betas", 0.9),
     ("betas", None), ("betas", "ab"), ("betas", (0.9, None)), ("betas", (0.9, math.nan))],
)  # fmt: skip
@pytest.mark.usefixtures("in_a_notebook")
def test_a_hyper_parameter_out_of_range_is_named(key, value):
    """Also that of a group, at first or later, or of a state that is loaded."""
    p, q = parameters((1,), (2,))
    ours = AdamW([p])
    state = ours.state_dict()
    state["param_groups"][0][key] = value
    for use in (
        lambda: AdamW([p], **{key: value}),
        lambda: AdamW([{"params": [p], key: value}]),
        lambda: ours.add_param_group({"params": [q], key: value}),
        lambda: ours.load_state_dict(state),
    ):
        with pytest.raises(UserError, match=rf"optim\.{key}="):
            use()
    assert len(ours.param_groups) == 1


def test_matrices_decay_and_vectors_do_not():
    model = small_model(norm=partial(PostNorm, kind="layernorm"), pos=Learned)
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


def with_gradient(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    p = nn.Parameter(normal(*shape, dtype=dtype))
    p.grad = 3 * normal(*shape, seed=1, dtype=dtype)
    return p


CLIPPED: dict[str, Callable[[], Any]] = {
    "nothing": list,
    "an empty generator": lambda: iter(()),
    "no gradient": lambda: [nn.Parameter(torch.ones(3))],
    "some gradients": lambda: [nn.Parameter(torch.ones(3)), with_gradient(2, 2)],
    "one parameter that is no list": lambda: with_gradient(3, 4),
    "one parameter without a gradient": lambda: nn.Parameter(torch.ones(2, 2)),
    "one parameter without dimensions": lambda: with_gradient(),
    "a generator": lambda: (with_gradient(n) for n in (1, 2, 3)),
    "no elements": lambda: [with_gradient(0), with_gradient(2, 0)],
    "no elements beside some": lambda: [with_gradient(0), with_gradient(3)],
    "float64": lambda: [with_gradient(3, dtype=torch.float64)],
    "bfloat16": lambda: [with_gradient(3, dtype=torch.bfloat16)],
    "mixed types": lambda: [with_gradient(3), with_gradient(2, dtype=torch.float64)],
}


@pytest.mark.parametrize("max_norm", [0, 1, 0.5, math.inf])
@pytest.mark.parametrize("make", CLIPPED.values(), ids=CLIPPED.keys())
def test_clipping_does_what_torchs_does_with(make, max_norm):
    params, others = (p if isinstance(p, nn.Parameter) else [*p] for p in (make(), make()))
    norm = clip_grad_norm_(params, max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(others, max_norm), rtol=1e-3, atol=0)
    got, expected = ([p] if isinstance(p, nn.Parameter) else p for p in (params, others))
    assert_same(gradients(got), gradients(expected), rtol=1e-2, atol=1e-6)


def test_clipping_reads_a_generator_once():
    params = [with_gradient(3)]
    clip_grad_norm_((p for p in params), 1.0)
    assert gradients(params)[0].norm() == pytest.approx(1.0)


@pytest.mark.parametrize("max_norm", [-1.0, -0.001, math.nan, -math.inf, -1])
def test_a_norm_to_clip_at_that_is_negative_is_refused(max_norm):
    p = with_gradient(3)
    with pytest.raises(UserError, match="max_norm="):
        clip_grad_norm_([p], max_norm)
    assert_same(gradients([p]), gradients([with_gradient(3)]))


def test_gradient_norms_come_in_order():
    params = with_gradients(4)
    torch.testing.assert_close(grad_norms(params), torch.stack([grad.norm() for grad in gradients(params)]))
    assert grad_norms([]).shape == grad_norms([nn.Parameter(torch.ones(2))]).shape == (0,)


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


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", -1), ("lr", -1e-3), ("lr", math.nan), ("min_lr", -1e-9), ("warmup_steps", -5), ("max_steps", -1)],
)
def test_a_number_of_the_schedule_that_is_negative_is_named(key, value):
    with pytest.raises(UserError, match=f"{key}={value} is not allowed"):
        cosine_schedule(**{**dict(step=0, lr=0.1, min_lr=0.01, warmup_steps=2, max_steps=5), key: value})


@pytest.mark.parametrize(
    ("step", "warmup", "steps", "rate"),
    [(0, 0, 10, 1.0), (0, 1, 10, 1.0), (9, 0, 10, 0.1), (10, 0, 10, 0.1), (10**9, 0, 10, 0.1), (0, 0, 0, 1.0),
     (0, 0, 1, 1.0), (0, 5, 0, 0.2), (4, 5, 5, 1.0), (5, 5, 5, 1.0), (7, 5, 5, 0.1)],
)  # fmt: skip
def test_the_ends_of_the_schedule(step, warmup, steps, rate):
    found = cosine_schedule(step, lr=1, min_lr=0.1, warmup_steps=warmup, max_steps=steps)
    assert found == pytest.approx(rate)


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
