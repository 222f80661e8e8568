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
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from machine import describe, peak_bytes
from torch import Tensor, nn

from lmablate.config.key_value import run_key_value_command as command
from lmablate.machine import keep_freed_memory


@dataclass(frozen=True)
class Case:
    """A size: rows of a batch, tokens of the vocabulary, and the widths, layers, heads and context of the model."""

    rows: int
    vocab: int
    d: int = 256
    d_ff: int = 1024
    context: int = 256
    layers: int = 4
    heads: int = 4
    matrices: int = 3  # of an MLP

    @property
    def wide(self) -> int:
        """Width of an MLP of two matrices that computes as much as one of three."""
        return self.matrices * self.d_ff // 2


# The sizes of scale=short, and of scale=report with two vocabularies.
CASES = {"cpu": Case(16, 1024, d=64, d_ff=256, context=128), "10k": Case(64, 10_000), "32k": Case(32, 32_000)}

Step = Callable[[], Any]


@dataclass
class Arguments:
    """Time a training step of several implementations, alternating between them."""

    case: Annotated[Literal["cpu", "10k", "32k", "all"], "cpu is the size of scale=short; 10k and 32k tokens"] = "all"
    heap: Annotated[Literal["default", "kept", "all"], "whether malloc keeps what is freed"] = "all"
    with_: Annotated[str, "contestants: ours, vanilla, nanogpt, hf, xtransformers, litgpt"] = (
        "ours,vanilla,nanogpt,hf,xtransformers,litgpt"
    )
    rounds: Annotated[int, "timed steps of each"] = 5
    threads: Annotated[int, "of torch"] = 2
    batch: Annotated[int, "rows of a batch instead of the case's; 0 is the case's"] = 0
    clock: Annotated[Literal["wall", "cpu"], "cpu is steadier on a busy machine, and right with one thread"] = "wall"
    only: Annotated[Literal["time", "memory", "all"], "what to measure"] = "all"
    worker: Annotated[str, "for the script itself"] = ""


class Plain(nn.Module):
    """nanoGPT's design: fused qkv, torch's attention, all logits at once; at equal cost, 1.5 times as wide an MLP."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(case.vocab, case.d), nn.Embedding(case.context, case.d)
        self.blocks = nn.ModuleList(PlainBlock(case) for _ in range(case.layers))
        self.norm, self.head = nn.LayerNorm(case.d), nn.Linear(case.d, case.vocab, bias=False)
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

    def __init__(self, case: Case) -> None:
        super().__init__()
        d, self.heads = case.d, case.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, case.wide, bias=False), nn.Linear(case.wide, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = [y.view(*y.shape[:2], self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm_1(x)).chunk(3, -1)]
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


def lmablate_step(case: Case, tokens: Tensor, targets: Tensor, d_ff: int, **parts: Any) -> Step:
    """Our training step, for the architecture that `parts` chooses."""
    from lmablate.model import Scaled, TiedHead, Transformer
    from lmablate.training.optim import AdamW, decay_groups
    from lmablate.training.step import NextTokenLoss, train_step

    sizes: dict[str, Any] = dict(vocab_size=case.vocab, d_model=case.d, n_layers=case.layers, n_heads=case.heads)
    parts |= dict(tying=TiedHead, init=Scaled(), context_length=case.context)
    model = NextTokenLoss(Transformer(**sizes, d_ff=d_ff, **parts))
    optimizer = AdamW(decay_groups(model, 0.1))
    return lambda: train_step(model, optimizer, (tokens, targets), lr=1e-4, grad_clip=1.0)


def ours(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    from lmablate.model import PreNorm, RoPE, SwiGLU

    return lmablate_step(case, tokens, targets, case.d_ff, norm=PreNorm, pos=RoPE, act=SwiGLU)


def vanilla(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    from lmablate.model import PostNorm, ReLU, Sinusoidal

    norm = partial(PostNorm, kind="layernorm")
    return lmablate_step(case, tokens, targets, case.wide, norm=norm, pos=Sinusoidal, act=ReLU)


def nanogpt(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    model = Plain(case)
    return torch_step(model, lambda: model(tokens, targets))


def hf(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=case.vocab, hidden_size=case.d, intermediate_size=case.d_ff, num_hidden_layers=case.layers,
        num_attention_heads=case.heads, max_position_embeddings=case.context, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    return torch_step(model, lambda: model(input_ids=tokens, labels=targets).loss)


def xtransformers(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    library: Any = importlib.import_module("x_transformers")  # by name: an optional peer, which need not be installed
    layers = library.Decoder(
        dim=case.d, depth=case.layers, heads=case.heads, attn_dim_head=case.d // case.heads, ff_mult=case.d_ff / case.d,
        ff_glu=True, ff_swish=True, ff_no_bias=True, use_rmsnorm=True, rotary_pos_emb=True, attn_flash=True,
    )  # fmt: skip
    model = library.TransformerWrapper(
        num_tokens=case.vocab, max_seq_len=case.context, attn_layers=layers, tie_embedding=True
    )
    return torch_step(model, lambda: F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()))


def litgpt(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    library: Any = importlib.import_module("litgpt")
    utils: Any = importlib.import_module("litgpt.utils")
    model = library.GPT(
        library.Config(
            block_size=case.context, padded_vocab_size=case.vocab, vocab_size=case.vocab, n_layer=case.layers,
            n_head=case.heads, n_embd=case.d, intermediate_size=case.d_ff,
            mlp_class_name="LLaMAMLP", norm_class_name="RMSNorm", rotary_percentage=1.0, bias=False,
            parallel_residual=False,
        )
    )  # fmt: skip
    model.lm_head.weight = model.transformer.wte.weight
    return torch_step(model, lambda: utils.chunked_cross_entropy(model(tokens), targets))


CONTESTANTS: dict[str, Callable[[Case, Tensor, Tensor], Step]] = {
    "ours": ours, "vanilla": vanilla, "nanogpt": nanogpt, "hf": hf, "xtransformers": xtransformers, "litgpt": litgpt,
}  # fmt: skip
PACKAGES = {"hf": "transformers", "xtransformers": "x_transformers", "litgpt": "litgpt"}


def products(case: Case, tokens: Tensor, targets: Tensor) -> Step:
    """The step's linear and head products and nothing else."""
    n, chunk, d, d_ff, vocab = tokens.numel(), 1024, case.d, case.d_ff, case.vocab
    layer = [*[(d, d)] * 4, *[(d, d_ff)] * (case.matrices - 1), (d_ff, d)]
    x, dx = ({width: torch.randn(n, width) for width in (d, d_ff)} for _ in range(2))
    weights = {shape: (torch.randn(shape[::-1]) / 16, torch.empty(shape[::-1])) for shape in layer}
    head, d_head, logits = torch.randn(vocab, d) / 16, torch.empty(vocab, d), torch.empty(min(n, chunk), vocab)

    def step() -> None:
        for d_in, d_out in layer * case.layers:
            weight, gradient = weights[d_in, d_out]
            torch.mm(x[d_in], weight.mT, out=dx[d_out])
            torch.mm(x[d_out], weight, out=dx[d_in])
            torch.mm(x[d_out].mT, x[d_in], out=gradient)
        for start in range(0, n, chunk):
            rows = x[d][start : start + chunk]
            out = torch.mm(rows, head.mT, out=logits[: len(rows)])
            torch.mm(out, head, out=dx[d][start : start + chunk])
            torch.mm(out.mT, rows, out=d_head)

    return step


def sized(arguments: Arguments, name: str) -> Case:
    case = CASES[name]
    return replace(case, rows=arguments.batch or case.rows)


def batch(case: Case) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(case.vocab, (case.rows, case.context), generator=generator)
    return tokens, torch.randint(case.vocab, (case.rows, case.context), generator=generator)


def worker(arguments: Arguments) -> None:
    """One process of the benchmark: `kind/case/heap/contestants`; prints a JSON object."""
    kind, name, heap, names = arguments.worker.split("/")
    if heap == "kept" and not keep_freed_memory():
        sys.exit("malloc cannot be told to keep the heap on this machine")
    torch.set_num_threads(arguments.threads)
    case = sized(arguments, name)
    tokens, targets = batch(case)
    measure = time_steps if kind == "time" else peak_memory
    print(json.dumps(measure(names.split(","), case, tokens, targets, arguments)))


def time_steps(names: list[str], case: Case, tokens: Tensor, targets: Tensor, arguments: Arguments) -> dict:
    """Seconds of every round of every contestant, and of the products alone."""
    steps = {"products": products(case, tokens, targets)}
    steps |= {name: CONTESTANTS[name](case, tokens, targets) for name in names}
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


def peak_memory(names: list[str], case: Case, tokens: Tensor, targets: Tensor, arguments: Arguments) -> dict:
    """Bytes at most, over those after the imports, in three steps of one contestant."""
    (name,) = names
    if name in PACKAGES:
        importlib.import_module(PACKAGES[name])
    before = peak_bytes()
    step = CONTESTANTS[name](case, tokens, targets)
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
    size = sized(arguments, case)
    yield f"\nd {size.d}, V {size.vocab:,}, batch {size.rows} x {size.context}, heap {heap}"
    yield f"{'':<14} {'S':<22} {'tokens/s':>9}  {'time / ours':<22} {'peak MB':>8}"
    seconds = ask(arguments, f"time/{case}/{heap}/{','.join(names)}") if arguments.only != "memory" else {}
    for name in names:
        line = f"{name:<14} "
        if seconds:
            share = [ideal / own for ideal, own in zip(seconds["products"], seconds[name], strict=True)]
            reference = seconds.get("ours", seconds[name])
            ratio = [own / our for own, our in zip(seconds[name], reference, strict=True)]
            speed = size.rows * size.context / statistics.median(seconds[name])
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
