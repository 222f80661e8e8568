"""Measure how close training comes to the limit of the machine, beside other implementations of the same size.

    python scripts/bench_train.py                            everything, some 20 minutes on two free cores
    python scripts/bench_train.py case=10k heap=kept rounds=3 with_=ours,nanogpt

S is the time of a step's linear and head matrix products alone (forward, both gradients, into preallocated memory)
over the time of the whole step: 1 is the limit for any implementation. Products and contestants alternate, round by
round, so that a busy machine slows all of them; only ratios count. Every contestant is used as its documentation says
and computes the same products: the three matrices of a gated MLP, or two that are half as wide again. Peak memory is
that of each contestant's own process, minus that after its imports.
"""

import gc
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from machine import describe, peak_bytes
from torch import Tensor, nn

from lmablate.config.key_value import run_key_value_command as command
from lmablate.machine import keep_freed_memory

D, LAYERS, HEADS, D_FF, CONTEXT = 256, 4, 4, 1024, 256
# Rows of a batch, and tokens of the vocabulary.
CASES = {"10k": (64, 10_000), "32k": (32, 32_000)}

Step = Callable[[], Any]


@dataclass
class Arguments:
    """Time a training step of several implementations, alternating between them."""

    case: Annotated[Literal["10k", "32k", "all"], "size of the vocabulary; 10k has batch 64, 32k has 32"] = "all"
    heap: Annotated[Literal["default", "kept", "all"], "whether malloc keeps what is freed"] = "all"
    with_: Annotated[str, "contestants: ours, nanogpt, hf, xtransformers, litgpt"] = (
        "ours,nanogpt,hf,xtransformers,litgpt"
    )
    rounds: Annotated[int, "timed steps of each"] = 5
    threads: Annotated[int, "of torch"] = 2
    batch: Annotated[int, "rows of a batch instead of the case's; 0 is the case's"] = 0
    clock: Annotated[Literal["wall", "cpu"], "cpu is steadier on a busy machine, and right with one thread"] = "wall"
    only: Annotated[Literal["time", "memory", "all"], "what to measure"] = "all"
    worker: Annotated[str, "for the script itself"] = ""


class Plain(nn.Module):
    """nanoGPT's design: fused qkv, torch's attention, all logits at once; at equal cost, 1.5 times as wide an MLP."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, D), nn.Embedding(CONTEXT, D)
        self.blocks = nn.ModuleList(PlainBlock() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, vocab, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class PlainBlock(nn.Module):
    """Pre-norm attention and MLP, as in nanoGPT, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        self.up, self.down = nn.Linear(D, 3 * D_FF // 2, bias=False), nn.Linear(3 * D_FF // 2, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = [y.view(*y.shape[:2], HEADS, -1).transpose(1, 2) for y in self.qkv(self.norm_1(x)).split(D, -1)]
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


def torch_step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """The usual loop: backward, clip, torch's AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)

    def step() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def ours(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    from lmablate.model import PreNorm, RoPE, Scaled, SwiGLU, TiedHead, Transformer
    from lmablate.training.optim import AdamW, decay_groups
    from lmablate.training.step import NextTokenLoss, train_step

    sizes: dict[str, Any] = dict(vocab_size=vocab, d_model=D, n_layers=LAYERS, n_heads=HEADS, d_ff=D_FF)
    parts: dict[str, Any] = dict(norm=PreNorm, pos=RoPE, act=SwiGLU, tying=TiedHead, init=Scaled())
    model = NextTokenLoss(Transformer(**sizes, context_length=CONTEXT, **parts))
    optimizer = AdamW(decay_groups(model, 0.1))
    return lambda: train_step(model, optimizer, (tokens, targets), lr=1e-4, grad_clip=1.0)


def nanogpt(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    model = Plain(vocab)
    return torch_step(model, lambda: model(tokens, targets))


def hf(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab, hidden_size=D, intermediate_size=D_FF, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    return torch_step(model, lambda: model(input_ids=tokens, labels=targets).loss)


def xtransformers(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    library: Any = importlib.import_module("x_transformers")  # by name: an optional peer, which need not be installed
    layers = library.Decoder(
        dim=D, depth=LAYERS, heads=HEADS, attn_dim_head=D // HEADS, ff_mult=D_FF / D, ff_glu=True, ff_swish=True,
        ff_no_bias=True, use_rmsnorm=True, rotary_pos_emb=True, attn_flash=True,
    )  # fmt: skip
    model = library.TransformerWrapper(num_tokens=vocab, max_seq_len=CONTEXT, attn_layers=layers, tie_embedding=True)
    return torch_step(model, lambda: F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()))


def litgpt(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    library: Any = importlib.import_module("litgpt")
    utils: Any = importlib.import_module("litgpt.utils")
    model = library.GPT(
        library.Config(
            block_size=CONTEXT, padded_vocab_size=vocab, vocab_size=vocab, n_layer=LAYERS, n_head=HEADS, n_embd=D,
            intermediate_size=D_FF, mlp_class_name="LLaMAMLP", norm_class_name="RMSNorm", rotary_percentage=1.0,
            bias=False, parallel_residual=False,
        )
    )  # fmt: skip
    model.lm_head.weight = model.transformer.wte.weight
    return torch_step(model, lambda: utils.chunked_cross_entropy(model(tokens), targets))


CONTESTANTS: dict[str, Callable[[int, Tensor, Tensor], Step]] = {
    "ours": ours, "nanogpt": nanogpt, "hf": hf, "xtransformers": xtransformers, "litgpt": litgpt,
}  # fmt: skip
PACKAGES = {"hf": "transformers", "xtransformers": "x_transformers", "litgpt": "litgpt"}


def products(vocab: int, tokens: Tensor, targets: Tensor) -> Step:
    """The step's linear and head products and nothing else."""
    n, chunk = tokens.numel(), 1024
    layer = [*[(D, D)] * 4, (D, D_FF), (D, D_FF), (D_FF, D)]
    x, dx = ({width: torch.randn(n, width) for width in (D, D_FF)} for _ in range(2))
    weights = {shape: (torch.randn(shape[::-1]) / 16, torch.empty(shape[::-1])) for shape in layer}
    head, d_head, logits = torch.randn(vocab, D) / 16, torch.empty(vocab, D), torch.empty(min(n, chunk), vocab)

    def step() -> None:
        for d_in, d_out in layer * LAYERS:
            weight, gradient = weights[d_in, d_out]
            torch.mm(x[d_in], weight.mT, out=dx[d_out])
            torch.mm(x[d_out], weight, out=dx[d_in])
            torch.mm(x[d_out].mT, x[d_in], out=gradient)
        for start in range(0, n, chunk):
            rows = x[D][start : start + chunk]
            out = torch.mm(rows, head.mT, out=logits[: len(rows)])
            torch.mm(out, head, out=dx[D][start : start + chunk])
            torch.mm(out.mT, rows, out=d_head)

    return step


def batch(rows: int, vocab: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocab, (rows, CONTEXT), generator=generator)
    return tokens, torch.randint(vocab, (rows, CONTEXT), generator=generator)


def worker(arguments: Arguments) -> None:
    """One process of the benchmark: `kind/case/heap/contestants`; prints a JSON object."""
    kind, case, heap, names = arguments.worker.split("/")
    if heap == "kept" and not keep_freed_memory():
        sys.exit("malloc cannot be told to keep the heap on this machine")
    torch.set_num_threads(arguments.threads)
    rows, vocab = CASES[case]
    tokens, targets = batch(arguments.batch or rows, vocab)
    measure = time_steps if kind == "time" else peak_memory
    print(json.dumps(measure(names.split(","), vocab, tokens, targets, arguments)))


def time_steps(names: list[str], vocab: int, tokens: Tensor, targets: Tensor, arguments: Arguments) -> dict:
    """Seconds of every round of every contestant, and of the products alone."""
    steps = {"products": products(vocab, tokens, targets)}
    steps |= {name: CONTESTANTS[name](vocab, tokens, targets) for name in names}
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.rounds + 1):
        for name, step in steps.items():
            gc.collect()
            started = clock()
            step()
            if number:  # the first is slow for everybody
                seconds[name].append(clock() - started)
    return seconds


def peak_memory(names: list[str], vocab: int, tokens: Tensor, targets: Tensor, arguments: Arguments) -> dict:
    """Bytes at most, over those after the imports, in three steps of one contestant."""
    (name,) = names
    if name in PACKAGES:
        importlib.import_module(PACKAGES[name])
    before = peak_bytes()
    step = CONTESTANTS[name](vocab, tokens, targets)
    for _ in range(3):
        step()
    return {name: peak_bytes() - before}


def ask(arguments: Arguments, job: str) -> dict:
    """The answer of a worker process of its own: how malloc behaves is decided once for a process."""
    options = [f"{key}={getattr(arguments, key)}" for key in ("rounds", "threads", "batch", "clock")]
    done = subprocess.run([sys.executable, __file__, *options, f"worker={job}"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{job} failed")
    return json.loads(done.stdout.splitlines()[-1])


def quartiles(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def report(arguments: Arguments, case: str, heap: str, names: list[str]) -> Iterator[str]:
    """The lines of one table. Ratios are taken within a round, then their quartiles over rounds."""
    rows, vocab = CASES[case]
    rows = arguments.batch or rows
    yield f"\nV {vocab:,}, batch {rows} x {CONTEXT}, heap {heap}"
    yield f"{'':<14} {'S':<22} {'tokens/s':>9}  {'time / ours':<22} {'peak MB':>8}"
    seconds = ask(arguments, f"time/{case}/{heap}/{','.join(names)}") if arguments.only != "memory" else {}
    for name in names:
        line = f"{name:<14} "
        if seconds:
            share = [ideal / own for ideal, own in zip(seconds["products"], seconds[name], strict=True)]
            reference = seconds.get("ours", seconds[name])
            ratio = [own / our for own, our in zip(seconds[name], reference, strict=True)]
            speed = rows * CONTEXT / statistics.median(seconds[name])
            line += f"{quartiles(share):<22} {speed:>9.0f}  {quartiles(ratio):<22} "
        if arguments.only != "time":
            line += f"{ask(arguments, f'memory/{case}/{heap}/{name}')[name] / 1e6:>8.0f}"
        yield line


def installed(name: str) -> bool:
    try:
        importlib.import_module(PACKAGES.get(name, "torch"))
    except ImportError as error:
        print(f"{name} is left out: {error}")
        return False
    return True


def main(arguments: Arguments) -> None:
    if arguments.worker:
        return worker(arguments)
    names = [name for name in arguments.with_.split(",") if installed(name)]
    print(f"{describe()}, torch {torch.__version__}, {arguments.threads} threads, {arguments.clock} clock")
    for case in CASES if arguments.case == "all" else [arguments.case]:
        for heap in ("default", "kept") if arguments.heap == "all" else [arguments.heap]:
            for line in report(arguments, case, heap, names):
                print(line, flush=True)


if __name__ == "__main__":
    command("scripts.bench_train", Arguments, main)
