"""An exported run computes the same in transformers as here."""

import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lmablate.config.build import build_model
from lmablate.errors import UserError
from lmablate.inference.decode import Sampler, generate_tokens
from lmablate.inference.hugging_face import save_pretrained
from lmablate.inference.load import LoadedRun
from lmablate.inference.score import score
from tests.inference.helpers import ARMS, train_arms
from tests.tiny import configured


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedRun]:
    return train_arms(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm != "neither"])
def test_transformers_computes_the_same_logits(arm, runs, tmp_path):
    loaded = runs[arm]
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert sum(p.numel() for p in theirs.parameters() if p.any()) == sum(p.numel() for p in loaded.model.parameters())
    text = torch.from_numpy(loaded.validation_tokens().array[: 3 * 16].astype(np.int64)).view(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(text).logits, loaded.model(text), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arm", ["llama-tied", "gpt2-untied"])
def test_transformers_finds_the_runs_own_validation_loss(arm, runs, tmp_path):
    """Their tokenizer and their model find the same loss, from the text on, in the same windows."""
    loaded = runs[arm]
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokens = loaded.validation_tokens()
    text = (tokens.path.parent.parent / "valid.txt").read_text()
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    assert ids.tolist() == tokens.array.tolist()
    assert tokenizer.decode(ids) == text
    losses = []
    with torch.no_grad():
        for start in range(0, len(ids) - 1, 16):
            row = ids[start : start + 17]
            losses.append(F.cross_entropy(theirs(row[None, :-1]).logits[0], row[1:], reduction="sum"))
    mean = torch.stack(losses).sum().item() / (len(ids) - 1)
    own = score(loaded.model, tokens.array, loaded.tokenizer.token_lengths())
    assert mean == pytest.approx(own.nats, abs=1e-3)


def test_transformers_writes_the_same_text(runs, tmp_path):
    loaded = runs["llama-tied"]
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path)
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer("the cat", return_tensors="pt")
    expected = theirs.generate(**prompt, max_new_tokens=8, do_sample=False)
    own = [t for _, t in generate_tokens(loaded.model, prompt["input_ids"].tolist(), Sampler(0), max_tokens=8)]
    assert expected[0, prompt["input_ids"].shape[1] :].tolist() == own


def test_a_model_that_transformers_does_not_have_is_refused_and_leaves_no_folder(runs, tmp_path):
    loaded = runs["neither"]
    with pytest.raises(UserError, match=r"PostNorm\+RMSNorm\+ALiBi\+ReLU2, only PreNorm\+RMSNorm\+RoPE\+SwiGLU or"):
        save_pretrained(loaded.model, loaded.tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


ADDED = [
    ("model/qk_norm=rms", "SwiGLU+QKNorm"),
    ("model/values=residual", "SwiGLU+ValueResidual"),
    ("model/attn=window", "SwiGLU+WindowAttention"),
    ("model/residual=layerscale", "SwiGLU+LayerScale"),
    ("model/logits=cap", "SwiGLU+CappedLogits"),
    ("model/scaling=mup", "SwiGLU+MuP"),
    ("model/pos=yarn", "PreNorm+RMSNorm+YaRN+SwiGLU"),
    ("model/norm=peri", "PeriNorm+RMSNorm+RoPE+SwiGLU"),
]


@pytest.mark.parametrize(("choice", "parts"), ADDED)
def test_what_a_model_adds_to_llama_is_not_left_out_silently(choice, parts, runs, tmp_path):
    model = build_model(configured(choice))
    with pytest.raises(UserError, match=re.escape(parts) + ", only"):
        save_pretrained(model, runs["llama-tied"].tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
