"""Prepare data ahead of training: `python -m lmablate.prepare [data=...] [tokenizer.vocab_size=...]`.

Training prepares its data itself if it has to; on a cluster, run this command where there is a network. Data that is
prepared already is found, not made again.
"""

from omegaconf import DictConfig

from lmablate.config.build import build, check_config
from lmablate.config.hydra_entry import run_hydra_command
from lmablate.data.prepare import prepare_data


def prepare(cfg: DictConfig) -> None:
    """Make the text, tokenizer and token files that `cfg` names, or find them, and print their paths."""
    check_config(cfg)
    data = prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir)
    print(f"{data.tokenizer_path}  text {data.fingerprint[:12]}")
    for tokens in (data.train, data.valid):
        print(f"{tokens.path}  {tokens.n_tokens:,} tokens of {tokens.bytes_per_token:.2f} bytes")


if __name__ == "__main__":
    from lmablate.prepare import prepare  # by its importable name: a launcher sends it to other processes

    run_hydra_command(prepare)
