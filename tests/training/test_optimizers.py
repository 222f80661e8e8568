"""Every optimizer of conf/optim: against torch or the paper's algorithm, and what all of them promise."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmablate.config.schema import CONF, OptimConfig
from lmablate.errors import UserError
from lmablate.training.optim import (
    ADOPT,
    SGD,
    SOAP,
    AdamW,
    Cautious,
    Decoupled,
    Independent,
    Lion,
    Muon,
    Optimizer,
    orthogonalised,
)
from lmablate.training.recipe import Recipe, build_recipe
from tests.model.helpers import assert_same, normal, small_model
from tests.tiny import configured

OPTIMIZERS = sorted(path.stem for path in Path(CONF, "optim").glob("*.yaml"))
DECAYS = sorted(path.stem for path in Path(CONF, "optim", "decay").glob("*.yaml"))
SHAPES = ((6, 4), (4, 6), (5, 5), (5,))
STEPS, RATES = 100, [0.01 / (1 + 0.1 * t) for t in range(100)]


def gradient(shape: Sequence[int], t: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The gradient of step t, of very different sizes in different steps."""
    return normal(*shape, seed=1000 + t, dtype=dtype) * 10 ** (t % 7 - 3)


# ---- References: one parameter, from the papers, in float64 ----


def lion(p: Tensor, grads: list[Tensor]) -> Tensor:
    m = torch.zeros_like(p)
    for g, lr in zip(grads, RATES, strict=True):
        c = 0.9 * m + 0.1 * g
        p = p - lr * (torch.sign(c) + 0.1 * p)
        m = 0.99 * m + 0.01 * g
    return p


def adopt(p: Tensor, grads: list[Tensor]) -> Tensor:
    m, v = torch.zeros_like(p), grads[0] ** 2
    for t in range(1, len(grads)):
        bound = t**0.25
        ratio = grads[t] / torch.maximum(v.sqrt(), torch.full_like(v, 1e-6))
        m = 0.9 * m + 0.1 * torch.clamp(ratio, -bound, bound)
        p = p - RATES[t] * (m + 0.1 * p)
        v = 0.99 * v + 0.01 * grads[t] ** 2
    return p


def soap(p: Tensor, grads: list[Tensor], longest: int = 100) -> Tensor:
    beta1, beta2 = 0.9, 0.95
    sides = [g @ g.T for g in grads[:1]] + [g.T @ g for g in grads[:1]]
    statistics = [(1 - beta2) * side for side in sides]
    bases = [
        torch.linalg.eigh(s).eigenvectors.flip(1) if len(s) <= longest else torch.eye(len(s), dtype=s.dtype)
        for s in statistics
    ]
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for t in range(1, len(grads)):
        g, (left, right) = grads[t], bases
        turned = left.T @ g @ right
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * turned**2
        direction = (left.T @ m @ right / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
        p = p - RATES[t] * (left @ direction @ right.T + 0.1 * p)
        for i, outer in enumerate((g @ g.T, g.T @ g)):
            statistics[i] = beta2 * statistics[i] + (1 - beta2) * outer
            if t % 3 == 0 and len(outer) <= longest:
                bases[i] = torch.linalg.qr(statistics[i] @ bases[i])[0]
    return p


def torchs(make: Callable[..., torch.optim.Optimizer]) -> Callable[[Tensor, list[Tensor]], Tensor]:
    def run(p: Tensor, grads: list[Tensor]) -> Tensor:
        p = nn.Parameter(p.clone())
        optimizer = make([p])
        for g, lr in zip(grads, RATES, strict=True):
            optimizer.param_groups[0]["lr"] = lr
            p.grad = g.clone()
            optimizer.step()
        return p.detach()

    return run


def plain_sgd(**options: Any) -> Callable[[Tensor, list[Tensor]], Tensor]:
    return torchs(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, **options))


TORCHS_MUON = torchs(lambda p: torch.optim.Muon(p, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
TORCHS_ADAMW = torchs(lambda p: torch.optim.AdamW(p, betas=(0.9, 0.95), weight_decay=0.1))
MATRICES = SHAPES[:3]
SOAP_OF_TESTS = partial(SOAP, betas=(0.9, 0.95), precondition_every=3)
# Ours, the reference, the shapes, and the relative error that is allowed in float32; None where float64 alone agrees.
REFERENCES: dict[str, tuple[Callable[..., Optimizer], Callable[..., Tensor], Any, float | None]] = {
    "Lion": (Lion, lion, SHAPES, 1e-5),
    "ADOPT": (partial(ADOPT, betas=(0.9, 0.99)), adopt, SHAPES, 1e-4),
    "SGD": (partial(SGD, weight_decay=0.0), plain_sgd(), SHAPES, 1e-5),
    "SGD, Nesterov": (partial(SGD, weight_decay=0.0, nesterov=True), plain_sgd(nesterov=True), SHAPES, 1e-5),
    "Muon": (Muon, TORCHS_MUON, MATRICES, 1e-4),
    # The eigenvectors for an eigenvalue of 0, as a matrix that is not square has at first, depend on rounding.
    "SOAP": (SOAP_OF_TESTS, soap, MATRICES, None),
    "SOAP, one side": (partial(SOAP_OF_TESTS, max_size=4), partial(soap, longest=4), ((6, 4), (4, 6)), 1e-4),
    "SOAP, no side": (partial(SOAP_OF_TESTS, max_size=3), TORCHS_ADAMW, MATRICES, 1e-4),
    "SOAP, vectors": (SOAP_OF_TESTS, TORCHS_ADAMW, ((5,), ()), 1e-4),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", REFERENCES)
def test_a_hundred_steps_are_those_of_the_reference(name, dtype, monkeypatch):
    make, reference, shapes, tolerance = REFERENCES[name]
    if dtype == torch.float32 and tolerance is None:
        pytest.skip("the reference is not stable in float32")
    params = [nn.Parameter(normal(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(shapes)]
    starts = [p.detach().double().clone() for p in params]
    optimizer = make(params)
    for t, lr in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = lr
        for p in params:
            p.grad = gradient(p.shape, t, dtype)
        optimizer.step()
    # torch's Muon multiplies in bfloat16: here it keeps its precision.
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)
    grads = [[gradient(shape, t, dtype).double() for t in range(STEPS)] for shape in shapes]
    expected = [reference(start, g) for start, g in zip(starts, grads, strict=True)]
    moved = max((p - start).abs().max().item() for p, start in zip(params, starts, strict=True))
    for p, e in zip(params, expected, strict=True):
        error = (p.detach().double() - e).abs().max().item() / moved
        assert error < (1e-12 if dtype == torch.float64 else tolerance or 0)


# ---- The orthogonalisation of Muon ----


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4), (1, 5), (5, 1), (3, 6, 2)])
def test_orthogonalising_keeps_the_singular_vectors_and_makes_the_values_about_1(shape):
    x = normal(*shape, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    values = u.mT @ orthogonalised(x) @ vt.mT
    diagonal = torch.diagonal(values, dim1=-2, dim2=-1)
    torch.testing.assert_close(torch.diag_embed(diagonal), values, rtol=0, atol=1e-9)
    assert (diagonal[s > 0.05 * s.amax(-1, keepdim=True)] > 0.65).all()
    assert (diagonal < 1.25).all()


def test_orthogonalising_does_not_depend_on_the_size_of_a_matrix():
    x = normal(4, 6)
    torch.testing.assert_close(orthogonalised(1e3 * x), orthogonalised(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(orthogonalised(torch.zeros(4, 6)), torch.zeros(4, 6))


def test_muon_orthogonalises_the_matrices_of_the_blocks_and_nothing_else():
    model = small_model()
    optimizer = Muon(Muon.groups(model, 0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    hidden, others, vectors = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert len(hidden) == 14
    assert all(name.startswith("blocks.") and (".attn." in name or ".mlp." in name) for name in hidden)
    assert others == ["embed.weight"]
    assert all("norm" in name for name in vectors)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]


def test_soap_turns_both_sides_in_the_blocks_and_the_shorter_one_elsewhere():
    model = small_model()
    optimizer = SOAP(SOAP.groups(model, 0.1))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        bases = {key: len(value) for key, value in optimizer.state[p].items() if key.endswith("basis")}
        both = {"left_basis": p.shape[0], "right_basis": p.shape[-1]}
        assert bases == ({} if p.dim() < 2 else both if "blocks" in name else {"right_basis": 16})


def test_an_update_of_muon_is_as_large_as_one_of_adamw():
    """Its root mean square is about 0.2 times the learning rate, whatever the shape (arXiv 2502.16982)."""
    for shape in ((64, 64), (64, 256), (256, 64)):
        p = nn.Parameter(torch.zeros(shape))
        p.grad = normal(*shape)
        Muon([p], lr=1.0, weight_decay=0.0).step()
        assert p.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


# ---- What every choice of conf/optim promises ----


class Toy(nn.Module):
    """A parameter of each kind that a model has."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Parameter(normal(7, 4, dtype=torch.float64))
        self.blocks = nn.ModuleList(nn.Linear(4, n, bias=True, dtype=torch.float64) for n in (6, 4, 4))
        for i, p in enumerate(self.blocks.parameters()):
            p.data.copy_(normal(*p.shape, seed=i, dtype=torch.float64))

    def set_gradients(self, t: int) -> None:
        for i, p in enumerate(self.parameters()):
            p.grad = gradient(p.shape, 31 * i + t)


def recipe(*choices: str) -> Recipe:
    return build_recipe(configured(*choices))


def optimizer_of(model: nn.Module, name: str, decay: str = "decoupled", **values: Any) -> Optimizer:
    optim = OptimConfig(**{"lr": 0.01, **values})
    return recipe(f"optim={name}", f"optim/decay={decay}").make_optimizer(model, optim)


def values_of(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def run(model: Toy, optimizer: Optimizer, steps: range) -> list[Tensor]:
    for t in steps:
        model.set_gradients(t)
        optimizer.step()
    return values_of(model)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_parameter_counts_its_own_steps(name):
    """One whose first gradient comes late, or that misses one in between, is updated as if it were alone."""
    together, alone = Toy(), Toy()
    one, other = optimizer_of(together, name), optimizer_of(alone, name)
    for t in range(8):
        together.set_gradients(t)
        alone.set_gradients(t)
        for model in (together, alone):
            first, *rest = model.parameters()
            first.grad = first.grad if t >= 3 and t != 5 else None
            if model is alone:
                for p in rest:
                    p.grad = None
        one.step()
        other.step()
    assert_same(values_of(together)[:1], values_of(alone)[:1], rtol=1e-12, atol=1e-12)
    assert not torch.equal(values_of(alone)[0], values_of(Toy())[0])
    assert one.state[next(together.parameters())]["step"] == 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_that_is_loaded_goes_on_in_the_same_bits(name):
    whole, half = Toy(), Toy()
    expected = run(whole, optimizer_of(whole, name), range(25))
    first = optimizer_of(half, name)
    run(half, first, range(13))
    rest = optimizer_of(half, name)
    rest.load_state_dict(copy.deepcopy(first.state_dict()))
    assert_same(run(half, rest, range(13, 25)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_deep_copy_goes_on_in_the_same_bits_and_keeps_its_decay(name):
    model = Toy()
    optimizer = optimizer_of(model, name, "cautious")
    run(model, optimizer, range(5))
    twin, twins = copy.deepcopy((model, optimizer))
    assert type(twins.decay) is type(optimizer.decay) is Cautious
    assert_same(run(model, optimizer, range(5, 15)), run(twin, twins, range(5, 15)), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_another_optimizer_is_refused(name):
    """Unless it looks the same; a checkpoint has the optimizer's name, too."""
    model = Toy()
    for other in OPTIMIZERS:
        theirs, mine = optimizer_of(model, other), optimizer_of(model, name)
        run(model, theirs, range(2))
        if (theirs.KEEPS, theirs.defaults.keys()) == (mine.KEEPS, mine.defaults.keys()):
            continue
        with pytest.raises(UserError):
            mine.load_state_dict(theirs.state_dict())
        assert not mine.state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_closure_is_called_with_gradients_switched_on(name):
    model = Toy()
    optimizer = optimizer_of(model, name)

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.stack([(p - 1).square().sum() for p in model.parameters()]).sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(40)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_sparse_gradient_is_refused_by_each(name):
    model = Toy()
    model.embed.grad = torch.eye(7, dtype=torch.float64)[:, :4].to_sparse()
    with pytest.raises(UserError, match="a gradient is sparse"):
        optimizer_of(model, name).step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.usefixtures("in_a_notebook")
def test_a_value_out_of_range_is_named(name):
    optimizer = optimizer_of(Toy(), name)
    kind, (group, *_) = type(optimizer), optimizer.param_groups
    bad: dict[str, Any] = {key: -1 for key in group if key not in ("params", "nesterov", "orthogonal", "two_sided")} | {
        "lr": math.nan
    }
    for key, value in bad.items():
        with pytest.raises(UserError, match=rf"optim\.(algorithm\.)?{key}="):
            kind([nn.Parameter(torch.ones(2, 2))], **{key: value})
        state = optimizer.state_dict()
        state["param_groups"][0][key] = value
        with pytest.raises(UserError, match=rf"optim\.(algorithm\.)?{key}="):
            optimizer.load_state_dict(state)


REFUSED = [
    (lambda: Muon([nn.Parameter(torch.ones(3))]), r"Muon cannot take a parameter of shape \[3\]"),
    (lambda: Muon([nn.Parameter(torch.ones(2, 2, 2))]), r"shape \[2, 2, 2\]"),
    (lambda: Muon([nn.Parameter(torch.ones(2, 2) * 1j)]), "a complex parameter of shape"),
    (lambda: SOAP([nn.Parameter(torch.ones(2, 2) * 1j)]), "SOAP takes matrices of float32 or float64"),
    (lambda: SOAP([nn.Parameter(torch.ones(2, 2).bfloat16())]), r"one of \[2, 2\] is torch\.bfloat16"),
]


@pytest.mark.parametrize(("make", "sentence"), REFUSED)
def test_a_parameter_that_an_algorithm_cannot_take_is_refused(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()


@pytest.mark.parametrize("kind", [AdamW, Lion, SGD, ADOPT])
def test_a_complex_parameter_is_a_pair_of_real_ones(kind):
    pairs = nn.Parameter(normal(3, 2))
    number = nn.Parameter(torch.view_as_complex(pairs.detach().clone()))
    one, other = kind([pairs]), kind([number])
    for t in range(5):
        pairs.grad = gradient((3, 2), t, torch.float32)
        number.grad = torch.view_as_complex(pairs.grad.clone())
        one.step()
        other.step()
    assert_same([torch.view_as_real(number.detach())], [pairs.detach()], rtol=1e-5, atol=1e-6)


# ---- Decay ----


def expected_decay(decay: str, p: Tensor, change: Tensor, lr: float, peak: float, weight_decay: float) -> Tensor:
    """What a parameter becomes, from the papers' equations; `change` is what the update alone adds to it."""
    if decay == "independent":
        return p - lr / peak * weight_decay * p + change
    if decay == "cautious":
        return p - lr * weight_decay * p * (-change * p >= 0) + change
    return p - lr * weight_decay * p + change


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_decay_takes_what_its_equation_says(name, decay):
    without, decayed = Toy(), Toy()
    plain, optimizer = optimizer_of(without, name, weight_decay=0.0), optimizer_of(decayed, name, decay)
    expected = values_of(decayed)
    for t in range(12):
        lr = 0.01 / (1 + t)
        for each in (*plain.param_groups, *optimizer.param_groups):
            each["lr"] = lr
        before = values_of(without)
        after = run(without, plain, range(t, t + 1))
        for i, (p, x, y) in enumerate(zip(expected, before, after, strict=True)):
            if not torch.equal(x, y):  # a first gradient may only begin the statistics
                expected[i] = expected_decay(decay, p, y - x, lr, 0.01, 0.1 if p.dim() == 2 else 0.0)
        assert_same(run(decayed, optimizer, range(t, t + 1)), expected, rtol=1e-9, atol=1e-11)


def test_independent_decay_does_not_depend_on_the_peak():
    lost = []
    for peak in (1e-3, 1e-1):
        p = nn.Parameter(torch.ones(3))
        optimizer = AdamW([p], lr=peak, weight_decay=0.05, decay=Independent())
        optimizer.param_groups[0]["lr"] = peak / 2
        p.grad = torch.zeros(3)
        optimizer.step()
        lost.append((1 - p.detach()).tolist())
    assert lost == [[pytest.approx(0.025)] * 3] * 2


def test_a_peak_of_0_decays_nothing():
    for decay in (Decoupled(), Independent(), Cautious()):
        p = nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        AdamW([p], lr=0.0, decay=decay).step()
        assert torch.equal(p, torch.ones(3))
