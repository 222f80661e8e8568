"""One training step, and the context of its forward pass; tests/training/test_optim.py makes 200 steps."""

import pytest
import torch
import torch.nn.functional as F

from lmablate.errors import UserError
from lmablate.training.optim import AdamW, grad_norms
from lmablate.training.step import NextTokenLoss, mixed_precision, train_step
from tests.model.helpers import CONTEXT, random_tokens, small_model


def batch():
    tokens = random_tokens(4, CONTEXT + 1)
    return tokens[:, :-1], tokens[:, 1:]


def test_the_loss_is_the_cross_entropy_of_the_models_logits():
    model = small_model()
    tokens, targets = batch()
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(NextTokenLoss(model)(tokens, targets), expected)


def test_the_norms_are_seen_before_clipping_and_before_the_update():
    model = small_model()
    loss_of = NextTokenLoss(model)
    before = [p.detach().clone() for p in model.parameters()]
    seen = []

    def before_update(loss, norms):
        assert torch.equal(norms, grad_norms(model.parameters()))
        assert all(map(torch.equal, model.parameters(), before))
        seen.append((loss, norms.norm()))

    optimizer = AdamW(model.parameters())
    loss, norm = train_step(loss_of, optimizer, batch(), lr=0.1, grad_clip=1e-3, before_update=before_update)
    assert seen == [(loss, norm)]
    assert norm > 1e-3, "nothing was clipped"
    assert not any(map(torch.equal, model.parameters(), before))
    assert all(p.grad is None for p in model.parameters())
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_bf16_is_autocast_and_fp32_is_nothing():
    x = torch.ones(2, 2)
    with mixed_precision("bf16", torch.device("cpu")):
        assert (x @ x).dtype == torch.bfloat16
    with mixed_precision("fp32", torch.device("cpu")):
        assert (x @ x).dtype == torch.float32


def test_another_precision_is_refused():
    with pytest.raises(UserError, match=r"train\.precision='fp16' is not allowed"):
        mixed_precision("fp16", torch.device("cpu"))
