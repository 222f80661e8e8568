"""Prepare data ahead of training: `python -m lmablate.prepare [data=...] [tokenizer.vocab_size=...]`.

Training does it too when it must; on a cluster, run this where there is a network. It does nothing twice.
"""

from omegaconf import DictConfig

from lmablate import config
from lmablate.cli import entry
from lmablate.data import prepare as preparation


def prepare(cfg: DictConfig) -> None:
    """Makes the text, tokenizer and token files that `cfg` names, or finds them, and prints their paths."""
    config.check(cfg)
    data = preparation.prepare(config.build(cfg.data), cfg.tokenizer, cfg.data_dir)
    print(f"{data.tokenizer_path}  text {data.fingerprint[:12]}")
    for tokens in (data.train, data.valid):
        print(f"{tokens.path}  {tokens.n_tokens:,} tokens of {tokens.bytes_per_token:.2f} bytes")


if __name__ == "__main__":
    from lmablate.prepare import prepare  # by its importable name: a launcher sends it to other processes

    entry(prepare)
