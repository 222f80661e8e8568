"""Measure what it gains to train several seeds of one arm in one process, as one stacked model.

    python scripts/bench_seeds.py seeds=4 d_model=64

"stacked" uses torch.func.stack_module_state and vmap, which make every matrix product a batched one. "in turn" makes a
step of each seed, one after the other, in the forms that `lmablate.train` uses. The two alternate, so their ratio holds
on a busy machine.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from unittest.mock import patch

import torch
from torch import Tensor

from lmablate.config.key_value import run_key_value_command as command
from lmablate.machine import keep_freed_memory
from lmablate.model import (
    PreNorm,
    RMSNorm,
    RoPE,
    Scaled,
    SwiGLU,
    TiedHead,
    Transformer,
    attention,
    cross_entropy,
    rope,
    self_attention,
)
from lmablate.model.norm import rms_norm
from lmablate.model.rope import turn_plain
from lmablate.training.optim import AdamW, clip_grad_norm_, decay_groups
from lmablate.training.step import NextTokenLoss, train_step


@dataclass
class Arguments:
    """Time a step of several seeds, stacked and in turn."""

    seeds: Annotated[int, "models of one arm"] = 4
    d_model: Annotated[int, "width; the MLP is four times as wide"] = 64
    vocab_size: Annotated[int, "tokens of the vocabulary"] = 2048
    batch: Annotated[int, "rows of a batch, for each seed"] = 16
    context: Annotated[int, "tokens of a row"] = 128
    threads: Annotated[int, "of torch"] = 2
    rounds: Annotated[int, "timed steps of each"] = 9


def models(arguments: Arguments) -> list[Transformer]:
    sizes: dict[str, Any] = dict(
        vocab_size=arguments.vocab_size, d_model=arguments.d_model, n_layers=4, n_heads=4,
        d_ff=4 * arguments.d_model, context_length=arguments.context,
    )  # fmt: skip
    parts: dict[str, Any] = dict(norm=PreNorm, pos=RoPE, act=SwiGLU, tying=TiedHead, init=Scaled())
    return [Transformer(**sizes, **parts, seed=seed) for seed in range(arguments.seeds)]


def batches(arguments: Arguments) -> tuple[Tensor, Tensor]:
    """Tokens and targets, [seeds, batch, time]."""
    shape = (arguments.seeds, arguments.batch, arguments.context)
    return torch.randint(arguments.vocab_size, shape), torch.randint(arguments.vocab_size, shape)


@contextmanager
def definitions() -> Iterator[None]:
    """Use the plain reference forms: vmap cannot trace a hand-written backward pass."""
    with (
        patch.object(self_attention, "causal_attention", lambda q, k, v, pos: attention(q, k, v, pos.bias)),
        patch.object(RMSNorm, "forward", lambda self, x: rms_norm(x, self.weight, self.eps)),
        patch.object(rope, "turn", turn_plain),
    ):
        yield


def in_turn(arguments: Arguments) -> Callable[[], None]:
    losses = [NextTokenLoss(model) for model in models(arguments)]
    optimizers = [AdamW(decay_groups(loss, 0.1)) for loss in losses]
    tokens, targets = batches(arguments)

    def step() -> None:
        for loss, optimizer, x, y in zip(losses, optimizers, tokens, targets, strict=True):
            train_step(loss, optimizer, (x, y), lr=1e-3, grad_clip=1.0)

    return step


def stacked(arguments: Arguments) -> Callable[[], None]:
    """One AdamW over stacked parameters; clipping by the norm of all seeds together, which costs the same."""
    seeds = models(arguments)
    parameters, buffers = torch.func.stack_module_state([*seeds])
    shell = copy.deepcopy(seeds[0]).to("meta")
    stack = {name: parameter.detach().requires_grad_() for name, parameter in parameters.items()}
    optimizer = AdamW(stack.values(), weight_decay=0.1)
    tokens, targets = batches(arguments)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(torch.func.functional_call(shell, (parameters, buffers), (x,)), y).mean()

    def step() -> None:
        with definitions():
            torch.func.vmap(loss)(stack, buffers, tokens, targets).sum().backward()
        clip_grad_norm_(stack.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main(arguments: Arguments) -> None:
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    steps = {"in turn": in_turn(arguments), "stacked": stacked(arguments)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number:  # the first step warms up
                seconds[name].append(time.perf_counter() - started)
    gains = [a / b for a, b in zip(seconds["in turn"], seconds["stacked"], strict=True)]
    low, middle, high = statistics.quantiles(gains, n=4, method="inclusive")
    each = {name: statistics.median(values) / arguments.seeds for name, values in seconds.items()}
    print(
        f"{arguments.seeds} seeds, d {arguments.d_model}, batch {arguments.batch} x {arguments.context}, "
        f"{arguments.threads} threads: {each['in turn'] * 1e3:.1f} ms a seed's step in turn, "
        f"{each['stacked'] * 1e3:.1f} stacked; gain {middle:.2f} ({low:.2f}-{high:.2f})"
    )


if __name__ == "__main__":
    command("scripts.bench_seeds", Arguments, main)
