import pytest
import torch
import torch.nn.functional as F

from lmablate.model import GELU, MLP, GatedMLP, GeGLU, ReLU, ReLU2, SiLU, SwiGLU
from lmablate.model.mlp import gelu, relu, relu2, silu
from tests.model.helpers import assert_same, normal, value_and_gradients

ACTIVATIONS = {
    ReLU: F.relu,
    ReLU2: lambda x: F.relu(x) ** 2,
    GELU: F.gelu,
    SiLU: F.silu,
    SwiGLU: F.silu,
    GeGLU: F.gelu,
}


def filled(kind: type[MLP], dtype: torch.dtype = torch.float32) -> MLP:
    mlp = kind(8, 12).to(dtype)
    for seed, parameter in enumerate(mlp.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed, dtype=dtype) / 3
    return mlp


@pytest.mark.parametrize(("kind", "reference"), ACTIVATIONS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_feed_forward_layer_computes_the_equation_of_its_paper(kind, reference):
    mlp, x = filled(kind), normal(3, 5, 8) * 3

    def equation(x: torch.Tensor) -> torch.Tensor:
        if isinstance(mlp, GatedMLP):
            return F.linear(reference(F.linear(x, mlp.gate.weight)) * F.linear(x, mlp.up.weight), mlp.down.weight)
        return F.linear(reference(F.linear(x, mlp.up.weight)), mlp.down.weight)

    assert_same(value_and_gradients(mlp, x), value_and_gradients(equation, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_the_gradients_of_a_feed_forward_layer_are_exact(kind):
    mlp = filled(kind, torch.float64)
    names, weights = zip(*mlp.named_parameters(), strict=True)
    x = normal(4, 8, seed=7, dtype=torch.float64, grad=True)

    def f(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(mlp, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, (x, *weights))


DEFINITIONS = {ReLU: relu, ReLU2: relu2, GELU: gelu, SiLU: silu, SwiGLU: silu, GeGLU: gelu}


@pytest.mark.parametrize(("kind", "definition"), DEFINITIONS.items(), ids=lambda x: x.__name__)
def test_an_activation_equals_its_definition(kind, definition):
    x = normal(50, 12) * 5
    assert_same(value_and_gradients(kind.activation, x), value_and_gradients(definition, x), rtol=1e-4, atol=1e-5)


def test_activations_and_their_gradients_are_finite_for_extreme_inputs():
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    for kind in ACTIVATIONS:
        y = kind.activation(x)
        assert y.isfinite().all()
        assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


def test_the_declared_number_of_matrices_is_that_of_the_built_layer():
    for kind in ACTIVATIONS:
        assert sum(p.numel() for p in kind(8, 12).parameters()) == kind.matrices * 8 * 12
