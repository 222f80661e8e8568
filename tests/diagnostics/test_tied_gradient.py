import pytest
import torch

from lmablate.diagnostics.tied_gradient import TiedGradient, gradient_parts
from lmablate.model import TiedHead, UntiedHead
from tests.diagnostics.helpers import evaluated, make_context, make_model, mean_loss
from tests.model.helpers import gradients


def cosine(x, y) -> float:
    return float((x * y).sum() / (x.square().sum().sqrt() * y.square().sum().sqrt()))


def twins():
    """Return a tied model, and an untied one that computes the same: its two matrices hold the same numbers."""
    tied, untied = make_model(tying=TiedHead), make_model(tying=UntiedHead)
    with torch.no_grad():
        untied.output_weight.copy_(tied.embed.weight)
    return tied, untied


def test_the_parts_are_the_gradients_of_an_untied_twins_two_matrices():
    tied, untied = twins()
    mean_loss(untied, make_context(untied)).backward()
    embed, head = gradients((untied.embed.weight, untied.output_weight))
    metrics = evaluated(TiedGradient(), make_context(tied))
    assert metrics == {
        "tied_grad/cosine": pytest.approx(cosine(embed, head), abs=1e-5),
        "tied_grad/norm_ratio": pytest.approx(float(embed.norm() / head.norm()), rel=1e-4),
    }
    assert evaluated(TiedGradient(), make_context(untied)) == {
        "untied_grad/cosine": pytest.approx(metrics["tied_grad/cosine"], abs=1e-5),
        "untied_grad/norm_ratio": pytest.approx(metrics["tied_grad/norm_ratio"], rel=1e-4),
    }


def test_the_parts_add_up_to_the_tied_gradient():
    model = make_model(tying=TiedHead)
    context = make_context(model)
    (whole,) = torch.autograd.grad(mean_loss(model, context), [model.embed.weight])
    torch.testing.assert_close(sum(gradient_parts(context)), whole, rtol=1e-4, atol=1e-6)
