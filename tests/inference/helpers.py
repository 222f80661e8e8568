"""Runs trained through the real command, for the tests that use trained runs."""

from pathlib import Path

from lmablate.inference.load import LoadedRun, load_run
from tests import tiny

# Two arms for each architecture that transformers has, and one that it does not have.
ARMS = {
    "llama-tied": ["model/pos=rope", "model/act=swiglu", "model/tying=true", "model.pos.theta=5000"],
    "llama-untied": ["model/pos=rope", "model/act=swiglu", "model/tying=false"],
    "gpt2-tied": ["model/pos=learned", "model/act=gelu", "model.norm.kind=layernorm"],
    "gpt2-untied": ["model/pos=learned", "model/act=gelu", "model.norm.kind=layernorm", "model/tying=false"],
    "llama-groups": ["model.n_heads=4", "model/attn=gqa"],
    "llama-one-group": ["model.n_heads=4", "model/attn=mqa", "model/tying=false"],
    "llama-biases": ["model.n_heads=4", "model/attn=gqa", "model/bias=all"],
    "llama-qkv": ["model/bias=qkv", "model/dropout=branches"],
    "gpt2-biases": ["model/pos=learned", "model/act=gelu", "model.norm.kind=layernorm", "model/bias=all"],
    "neither": ["model/norm=post", "model/pos=alibi", "model/act=relu2"],
}


def train_arms(folder: Path, *names: str) -> dict[str, LoadedRun]:
    """Train the named arms for a few steps below `folder`, all if none is named, and load them."""
    common = tiny.overrides(folder)
    loaded = {}
    for name in names or ARMS:
        before = set((folder / "runs").glob("*/run.json"))
        assert tiny.exit_code([*common, *ARMS[name]]) == 0
        (made,) = set((folder / "runs").glob("*/run.json")) - before
        loaded[name] = load_run(str(made.parent))
    return loaded
