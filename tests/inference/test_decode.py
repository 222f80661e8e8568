"""Generated text follows the model, the sampler and the seed, and nothing else; the model is too small to be good."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmablate.errors import UserError
from lmablate.inference.decode import Sampler, continuations, generate_tokens
from lmablate.model import ALiBi, Learned, NoPE, RoPE, Sinusoidal
from tests.model.helpers import CONTEXT, normal, random_tokens, small_model

POSITIONS = [RoPE, Sinusoidal, Learned, NoPE, ALiBi]
GREEDY = Sampler(temperature=0)


def generators(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


def first(stream: Iterator[torch.Tensor], n: int) -> torch.Tensor:
    """The first n tokens of every row, [batch, n]."""
    return torch.stack([row for _, row in zip(range(n), stream, strict=False)], dim=1)


@pytest.mark.parametrize("pos", POSITIONS)
def test_the_cache_writes_what_recomputation_writes(pos):
    """Greedily, past the end of the context: then the later half of it is the new beginning."""
    model, text = small_model(pos=pos), random_tokens(2, 4)
    written = first(continuations(model, text, GREEDY, generators(2)), 3 * CONTEXT)
    window = text
    for i in range(3 * CONTEXT):
        if window.shape[1] > CONTEXT:
            window = window[:, -(CONTEXT // 2) :]
        with torch.no_grad():
            expected = model(window)[:, -1].argmax(-1)
        assert torch.equal(written[:, i], expected), i
        window = torch.cat([window, expected[:, None]], dim=1)


@pytest.mark.parametrize("length", [CONTEXT - 1, CONTEXT, CONTEXT + 1, 3 * CONTEXT])
def test_a_prompt_may_be_longer_than_the_context(length):
    model, text = small_model(pos=Learned), random_tokens(1, length)
    with torch.no_grad():
        expected = model(text[:, -CONTEXT:])[:, -1].argmax(-1)
    assert first(continuations(model, text, GREEDY, generators(1)), 1)[0].tolist() == expected.tolist()


def test_a_context_of_one_token_is_enough_to_continue():
    stream = continuations(small_model(context_length=1), random_tokens(1, 3), GREEDY, generators(1))
    assert first(stream, 5).shape == (1, 5)


def test_a_prompt_writes_the_same_alone_and_in_a_batch():
    model = small_model()
    prompts = [random_tokens(n, seed=i).tolist() for i, n in enumerate((3, 5, 3, 1, 5))]
    texts = collect(generate_tokens(model, prompts, Sampler(), max_tokens=20, seed=7))
    assert [len(texts[i]) for i in range(5)] == [20] * 5
    for i in (0, 2, 4):
        alone = [prompts[i]] if i == 0 else [[1]] * i + [prompts[i]]  # at its own index
        assert collect(generate_tokens(model, alone, Sampler(), max_tokens=20, seed=7))[i] == texts[i]


def collect(tokens: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The tokens of every prompt, by its index."""
    texts: dict[int, list[int]] = {}
    for index, token in tokens:
        texts.setdefault(index, []).append(token)
    return texts


def test_the_seed_alone_decides_what_is_drawn():
    model, prompt = small_model(), [[1, 2, 3]]
    draws = [collect(generate_tokens(model, prompt, Sampler(), max_tokens=30, seed=seed))[0] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_text_ends_at_the_stop_token():
    model, prompts = small_model(), [[1, 2], [3, 4], [5, 6]]
    free = collect(generate_tokens(model, prompts, Sampler(), max_tokens=40))
    stop = free[0][10]
    stopped = collect(generate_tokens(model, prompts, Sampler(), max_tokens=40, stop=stop))
    for index, text in free.items():
        end = text.index(stop) if stop in text else len(text)
        assert stopped.get(index, []) == text[:end]
    assert len(stopped[0]) <= 10


def test_an_abandoned_text_leaves_nothing_in_the_model():
    model, text = small_model(), random_tokens(2, CONTEXT)
    with torch.no_grad():
        before = model(text)
    tokens = generate_tokens(model, [[1, 2]], Sampler(), max_tokens=5)
    next(tokens)
    del tokens
    with torch.no_grad():
        assert torch.equal(model(text), before)
    fresh = collect(generate_tokens(small_model(), [[3, 4]], Sampler(), max_tokens=5))
    assert collect(generate_tokens(model, [[3, 4]], Sampler(), max_tokens=5)) == fresh


def test_a_prompt_needs_a_token():
    with pytest.raises(UserError, match="at least one token"):
        list(generate_tokens(small_model(), [[1], []], Sampler(), max_tokens=1))


LOGITS = torch.tensor([[0.0, 3.0, 1.0, 2.0, -5.0]])


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature):
    expected = F.softmax(LOGITS.double() / temperature, -1)
    torch.testing.assert_close(Sampler(temperature).probabilities(LOGITS), expected)


def test_zero_temperature_takes_the_likeliest_token():
    assert Sampler(0).probabilities(LOGITS).tolist() == [[0, 1, 0, 0, 0]]
    assert Sampler(1e-300).probabilities(LOGITS).tolist() == [[0, 1, 0, 0, 0]]


def test_top_k_keeps_k_and_renormalises():
    p = Sampler(top_k=2).probabilities(LOGITS)
    assert (p > 0).tolist() == [[False, True, False, True, False]]
    assert p[0, 1] / p[0, 3] == pytest.approx(math.e)
    assert torch.equal(Sampler(top_k=99).probabilities(LOGITS), Sampler().probabilities(LOGITS))


def test_top_p_keeps_the_smallest_set_that_holds_p():
    full = Sampler().probabilities(LOGITS)[0]
    for top_p in (0.01, 0.5, 0.7, 0.9, 0.95, 0.9999, 1.0):
        kept = Sampler(top_p=top_p).probabilities(LOGITS)[0] > 0
        assert full[kept].sum() >= top_p - 1e-9
        assert full[kept].sum() - full[kept].min() < top_p
        assert full[kept].min() >= full[~kept].max() if (~kept).any() else True


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (1, 2, 1), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(0), Sampler(top_k=2), Sampler(top_p=0.5)], ids=str)
def test_logits_may_have_any_number_of_dimensions(sampler, lead):
    logits = normal(*lead, 6)
    rows = [sampler.probabilities(row[None])[0] for row in logits.view(-1, 6)] if math.prod(lead) else []
    p = sampler.probabilities(logits)
    assert p.shape == logits.shape
    assert torch.equal(p, torch.stack(rows).view(*lead, 6) if rows else p)
    tokens = sampler.draw(logits, generators(math.prod(lead)))
    assert tokens.shape == lead
    assert all(0 <= token < 6 for token in tokens.flatten().tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_logits_may_be_of_any_precision(dtype):
    assert (
        Sampler(0.5).draw(LOGITS.to(dtype), generators(1)).tolist() == Sampler(0.5).draw(LOGITS, generators(1)).tolist()
    )


PROMPTS: dict[str, Any] = {
    "lists": [[1, 2, 3], [4, 5]],
    "tuples": ((1, 2, 3), (4, 5)),
    "arrays": [np.array([1, 2, 3], np.uint16), np.array([4, 5])],
    "tensors": [torch.tensor([1, 2, 3]), torch.tensor([4, 5], dtype=torch.int32)],
    "a generator": ([1, 2, 3] if i == 0 else [4, 5] for i in range(2)),
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompts_may_come_in_any_form(prompts):
    model = small_model()
    expected = collect(generate_tokens(model, [[1, 2, 3], [4, 5]], Sampler(), max_tokens=4))
    assert collect(generate_tokens(model, prompts, Sampler(), max_tokens=4)) == expected


def test_a_tensor_of_prompts_is_one_prompt_per_row():
    model, text = small_model(), random_tokens(2, 4)
    for prompts in (text, text.numpy()):
        got = collect(generate_tokens(model, prompts, Sampler(), max_tokens=4))
        assert got == collect(generate_tokens(model, text.tolist(), Sampler(), max_tokens=4))


def written(prompts: Any = ((1,),), max_tokens: Any = 2) -> Any:
    return list(generate_tokens(small_model(), prompts, Sampler(), max_tokens=max_tokens))


def continued(prompts: Any) -> Any:
    return next(continuations(small_model(), prompts, GREEDY, generators(1)))


ANYTHING: Any = torch.Generator()
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a prompt that is no list of prompts": (lambda: written([1, 2, 3]), "prompt 0 must be whole numbers"),
    "a text": (lambda: written("abc"), "prompt 0 must be whole numbers"),
    "a list of texts": (lambda: written(["abc"]), "prompt 0 must be whole numbers"),
    "floats": (lambda: written([[1, 2], [0.5]]), "prompt 1 must be whole numbers"),
    "a prompt of prompts": (lambda: written([[[1, 2]]]), r"in the shape \[1, 2\]"),
    "a number": (lambda: written(3), "prompts must be a list of prompts"),
    "an empty prompt": (lambda: written([[1], []]), "at least one token"),
    "a token too high": (lambda: written([[1, 99]]), "tokens must be from 0 to 60"),
    "a negative token": (lambda: written([[-1]]), "tokens must be from 0 to 60"),
    "no token to write": (lambda: written(max_tokens=0), "max_tokens=0"),
    "half a token to write": (lambda: written(max_tokens=2.5), "max_tokens=2.5"),
    "a prompt of one dimension": (lambda: continued(torch.tensor([1, 2])), r"\[batch, time\] .* have \[2\]"),
    "a prompt of no tokens": (lambda: continued(torch.zeros(1, 0, dtype=torch.int64)), r"have \[1, 0\]"),
    "a prompt of floats": (lambda: continued(torch.ones(1, 2)), "prompts must hold token ids"),
    "a generator too few": (lambda: Sampler().draw(normal(2, 5), generators(1)), "one for each of 2 rows"),
    "a generator too many": (lambda: Sampler().draw(normal(5), generators(2)), "one for each of 1 rows"),
    "a generator that is no list": (lambda: Sampler().draw(normal(5), ANYTHING), "list of torch.Generators"),
    "logits that are not finite": (
        lambda: Sampler().draw(torch.tensor([0.0, math.nan]), generators(1)),
        "finite maximum",
    ),
    "infinite logits": (lambda: Sampler(0).probabilities(torch.tensor([0.0, math.inf])), "finite maximum"),
    "no token allowed": (lambda: Sampler().probabilities(torch.full((2, 3), -math.inf)), "finite maximum"),
    "no vocabulary": (lambda: Sampler().draw(torch.zeros(2, 0), generators(2)), "finite maximum"),
    "whole logits": (lambda: Sampler().probabilities(torch.tensor([1, 2])), "logits must hold floats"),
    "one logit": (lambda: Sampler().probabilities(torch.tensor(1.0)), "logits must hold floats"),
}


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_continued_is_refused_in_one_sentence(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_draws_follow_the_probabilities():
    sampler, logits = Sampler(), normal(1, 6, seed=3)
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.cat([sampler.draw(logits, [generator]) for _ in range(3000)]), minlength=6)
    torch.testing.assert_close(counts / 3000, F.softmax(logits, -1)[0], rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", -1.0), ("temperature", math.nan), ("temperature", math.inf), ("temperature", "1"),
     ("temperature", None), ("temperature", True), ("top_k", -1), ("top_k", 2.5), ("top_k", "3"), ("top_k", None),
     ("top_p", 0.0), ("top_p", 1.5), ("top_p", math.nan), ("top_p", [0.9]), ("top_p", True)],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(key, value):
    settings: dict[str, Any] = {key: value}
    with pytest.raises(UserError, match=f"{key}="):
        Sampler(**settings)
