"""Generate text from a trained model: temperature, top-k and top-p sampling, with a key-value cache."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmablate.data.tokens import Tokens, as_ids
from lmablate.errors import UserError
from lmablate.model import Transformer
from lmablate.model.checks import check_floats, check_ids, check_sizes
from lmablate.model.init import keyed_generator


@dataclass(frozen=True)
class Sampler:
    """Draws the next token from softmax(logits / temperature), cut to the `top_k` likeliest tokens, then to `top_p`.

    Attributes:
        temperature: 1 is the model's own distribution; 0 always takes the likeliest token.
        top_k: number of likeliest tokens that are kept; 0 keeps all.
        top_p: the smallest set of likeliest tokens whose probabilities sum to at least this is kept
            (arXiv 1904.09751); 1 keeps all.

    Raises:
        UserError: if a value is out of range; the message names its key.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not _is_a(Real, self.temperature) or not 0 <= self.temperature < math.inf:
            raise UserError(
                f"temperature={self.temperature!r} is not allowed: it must be a number, at least 0 and finite."
            )
        if not _is_a(Integral, self.top_k) or self.top_k < 0:
            raise UserError(
                f"top_k={self.top_k!r} is not allowed: it must be a whole number, at least 0 (0 keeps all)."
            )
        if not _is_a(Real, self.top_p) or not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p!r} is not allowed: it must be above 0 and at most 1.")

    def probabilities(self, logits: Float[Tensor, "*batch vocab_size"]) -> Float[Tensor, "*batch vocab_size"]:
        """Return the distribution that `draw` draws from, in float64, one row per row of `logits`.

        Raises:
            UserError: if the highest logit of a row is not finite.
        """
        check_floats("logits", logits, "vocab_size")
        logits, order = logits.double().sort(dim=-1, descending=True, stable=True)
        if not logits.shape[-1] or not logits[..., :1].isfinite().all():
            raise UserError("logits must have a finite maximum: the model has diverged, or no token is allowed.")
        keep = (self.top_k or logits.shape[-1]) if self.temperature else 1
        logits[..., keep:] = -math.inf
        p = ((logits - logits[..., :1]) / (self.temperature or 1)).softmax(-1)
        p = p.masked_fill(p.cumsum(-1) - p >= self.top_p, 0)
        return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))

    def draw(
        self, logits: Float[Tensor, "*batch vocab_size"], generators: Sequence[torch.Generator]
    ) -> Int[Tensor, "*batch"]:
        """Draw one token per row, each row with its own random generator.

        Raises:
            UserError: if there is not one generator for each row, or if a row's highest logit is not finite.
        """
        p = self.probabilities(logits.cpu())
        rows = p.flatten(0, -2) if p.dim() > 1 else p[None]
        if not isinstance(generators, Sequence) or len(generators) != len(rows):
            raise UserError(f"generators must be a list of torch.Generators, one for each of {len(rows)} rows.")
        tokens = [int(torch.multinomial(row, 1, generator=g)) for row, g in zip(rows, generators, strict=True)]
        return torch.tensor(tokens, dtype=torch.int64, device=logits.device).view(p.shape[:-1])


def _is_a(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@torch.no_grad()
def continuations(
    model: Transformer,
    prompts: Int[Tensor, "batch time"],
    sampler: Sampler,
    generators: Sequence[torch.Generator],
) -> Generator[Int[Tensor, " batch"], None, None]:
    """Yield the tokens that follow `prompts`, one per row at a time, without end.

    A key-value cache makes each new token cost a single position. When the text outgrows the model's context, the
    cache is dropped and the later half of the context is read again from position 0, so the model never sees a
    position that it was not trained on.

    Args:
        model: the model.
        prompts: token ids, [batch, time]; only the last `context_length` of them are read.
        sampler: draws each token.
        generators: one random generator per row.

    Yields:
        The next token of every row, [batch].

    Raises:
        UserError: if `prompts` are not ids in two dimensions, with at least one token each.
    """
    check_ids("prompts", prompts)
    if prompts.dim() != 2 or not prompts.shape[1]:
        raise UserError(
            f"prompts must have the shape [batch, time] with at least one token, but have {list(prompts.shape)}."
        )
    text = prompts[:, -model.context_length :]
    while True:
        cache, new = model.new_cache(), text
        while text.shape[1] <= model.context_length:
            logits = model.logits_of(model.hidden(new, cache)[:, -1])
            new = sampler.draw(logits, generators)[:, None]
            yield new[:, 0]
            text = torch.cat((text, new), dim=1)
        text = text[:, -max(1, model.context_length // 2) :]


def generate_tokens(
    model: Transformer,
    prompts: Iterable[Tokens],
    sampler: Sampler,
    *,
    max_tokens: int,
    seed: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Continue every prompt, and yield each token as soon as it is drawn.

    Prompts of the same length run as one batch. A prompt's random numbers are a function of (seed, its index), so its
    text does not depend on the other prompts of its batch.

    Args:
        model: the model.
        prompts: the prompts' token ids.
        sampler: draws each token.
        max_tokens: the most tokens to draw per prompt.
        seed: seed of the random numbers.
        stop: the token that ends a text; it is not yielded. None for no such token.

    Yields:
        Pairs of the prompt's index and its next token.

    Raises:
        UserError: if a prompt has no token, or is none, or if `max_tokens` is less than 1.
    """
    check_sizes({"max_tokens": max_tokens})
    if not isinstance(prompts, Iterable):
        raise UserError(f"prompts must be a list of prompts, each a list of token ids, but are {prompts!r}.")
    prompts = [as_ids(prompt, f"prompt {i}").tolist() for i, prompt in enumerate(prompts)]
    if any(len(prompt) == 0 for prompt in prompts):
        raise UserError("a prompt must have at least one token.")
    device = next(model.parameters()).device
    for length in sorted({len(prompt) for prompt in prompts}):
        batch = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
        generators = [keyed_generator(seed, f"prompt {i}") for i in batch]
        tokens = continuations(model, torch.tensor([prompts[i] for i in batch], device=device), sampler, generators)
        running = set(batch)
        for _, row in zip(range(max_tokens), tokens, strict=False):
            for index, token in zip(batch, row.tolist(), strict=True):
                if token == stop:
                    running.discard(index)
                if index in running:
                    yield index, token
            if not running:
                break
        tokens.close()
