"""Generate text from a trained model: temperature, top-k and top-p sampling, with a key-value cache."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmablate.errors import UserError
from lmablate.model import Transformer


@dataclass(frozen=True)
class Sampler:
    """How the next token is drawn: softmax(logits / temperature), cut to the likeliest `top_k`, then to `top_p`.

    temperature: 0 takes the likeliest token. top_k: 0 keeps all. top_p: the smallest set of tokens that holds this
    much probability (arXiv 1904.09751). Raises UserError for a value out of range, naming its key.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature={self.temperature} is not allowed: it must be at least 0 and finite.")
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k} is not allowed: it must be at least 0 (0 keeps every token).")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} is not allowed: it must be above 0 and at most 1.")

    def probabilities(self, logits: Float[Tensor, "batch vocab_size"]) -> Float[Tensor, "batch vocab_size"]:
        """What `draw` draws from."""
        logits, order = logits.double().sort(dim=-1, descending=True, stable=True)
        keep = (self.top_k or logits.shape[-1]) if self.temperature else 1
        logits[:, keep:] = -math.inf
        p = ((logits - logits[:, :1]) / (self.temperature or 1)).softmax(-1)
        p = p.masked_fill(p.cumsum(-1) - p >= self.top_p, 0)
        return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))

    def draw(
        self, logits: Float[Tensor, "batch vocab_size"], generators: Sequence[torch.Generator]
    ) -> Int[Tensor, " batch"]:
        """One token a row, each row with its own random numbers."""
        p = self.probabilities(logits.cpu())
        rows = [torch.multinomial(row, 1, generator=g) for row, g in zip(p, generators, strict=True)]
        return torch.cat(rows).to(logits.device)


@torch.no_grad()
def continuations(
    model: Transformer,
    prompts: Int[Tensor, "batch time"],
    sampler: Sampler,
    generators: Sequence[torch.Generator],
) -> Generator[Int[Tensor, " batch"], None, None]:
    """The tokens that follow `prompts`, one a row at a time, without end.

    A cache makes a token cost one step. When the text has outgrown the model's context, the later half of the
    context is read again as a new beginning: no position is ever one that training has not seen.
    """
    text = prompts[:, -model.context_length :]
    while True:
        cache, new = model.new_cache(), text
        while text.shape[1] <= model.context_length:
            logits = model.hidden(new, cache)[:, -1] @ model.output_weight.mT
            new = sampler.draw(logits, generators)[:, None]
            yield new[:, 0]
            text = torch.cat((text, new), dim=1)
        text = text[:, -max(1, model.context_length // 2) :]


def generate_tokens(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    sampler: Sampler,
    *,
    max_tokens: int,
    seed: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Continues every prompt; yields (prompt's index, token) as tokens come, at most `max_tokens` a prompt.

    Prompts of one length run as one batch. A prompt's random numbers are a function of (seed, its index), so the
    batch that it is in does not change its text. `stop` ends a text, and is not yielded.

    Raises UserError for a prompt without tokens.
    """
    if any(len(prompt) == 0 for prompt in prompts):
        raise UserError("a prompt must have at least one token.")
    device = next(model.parameters()).device
    for length in sorted({len(prompt) for prompt in prompts}):
        batch = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
        generators = [torch.Generator().manual_seed((seed << 20) + i) for i in batch]
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
