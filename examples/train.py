"""A character-level GPT in one file, as many people have one: no part of lmablate, only torch.

    python train.py --seed 0 --norm pre

It reads the source of argparse and difflib, trains for some seconds on a CPU, and prints the validation loss
in nats per character. docs/judge.md judges three pairs of its options.
"""

import argparse
import difflib
import inspect
import math
import time

import torch
from torch import nn
from torch.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--stream", type=int, default=0, help="other random numbers for the same seed")
parser.add_argument("--norm", choices=["pre", "post"], default="pre")
parser.add_argument("--act", choices=["gelu", "gelu_tanh", "relu"], default="gelu")
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--steps", type=int, default=120)
args = parser.parse_args()

D, HEADS, LAYERS, CONTEXT, BATCH, WARMUP = 48, 4, 2, 32, 16, 20
torch.set_num_threads(1)
torch.manual_seed(args.seed + 1_000_003 * args.stream)

text = inspect.getsource(argparse) + inspect.getsource(difflib)
chars = sorted(set(text))
data = torch.tensor([chars.index(c) for c in text])
train, valid = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def attention(self, x):
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    def mlp(self, x):
        h = self.up(x)
        h = F.relu(h) if args.act == "relu" else F.gelu(h, approximate="tanh" if args.act == "gelu_tanh" else "none")
        return self.down(h)

    def forward(self, x):
        if args.norm == "pre":
            x = x + self.attention(self.norm_1(x))
            return x + self.mlp(self.norm_2(x))
        x = self.norm_1(x + self.attention(x))
        return self.norm_2(x + self.mlp(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(len(chars), D), nn.Embedding(CONTEXT, D)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, len(chars))

    def loss(self, x, y):
        h = self.token(x) + self.position.weight
        return F.cross_entropy(self.head(self.norm(self.blocks(h))).flatten(0, 1), y.flatten())


def batch(source, rows):
    starts = torch.randint(len(source) - CONTEXT, (rows,))
    picked = torch.stack([source[i : i + CONTEXT + 1] for i in starts])
    return picked[:, :-1], picked[:, 1:]


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
started = time.time()
for step in range(args.steps):
    warmup = min(1, (step + 1) / WARMUP)
    for group in optimizer.param_groups:
        group["lr"] = args.lr * warmup * (0.55 + 0.45 * math.cos(math.pi * step / args.steps))
    loss = model.loss(*batch(train, BATCH))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0:
        print(f"step {step} train loss {loss.item():.4f}", flush=True)
with torch.no_grad():
    n = len(valid) // (CONTEXT + 1) * (CONTEXT + 1)
    windows = valid[:n].unflatten(0, (-1, CONTEXT + 1))
    print(f"step {args.steps} val loss {model.loss(windows[:, :-1], windows[:, 1:]).item():.5f}")
print(f"{time.time() - started:.1f} s")
