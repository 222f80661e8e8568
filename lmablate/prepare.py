"""Prepare data ahead of training: `python -m lmablate.prepare [overrides of train]`.

Training prepares its data itself if necessary; on a cluster, run this command where there is a network. Data that is
already prepared is found and not made again.

  python -m lmablate.prepare data=tinystories tokenizer.vocab_size=10000
      download TinyStories, train a tokenizer on it, and encode it
  python -m lmablate.prepare data=text data.train=a.txt data.valid=b.txt scale=report
      the same for two text files of your own, with the vocabulary of a scale
"""

from omegaconf import DictConfig

from lmablate.config.build import build, check_config
from lmablate.config.hydra_entry import run_hydra_command
from lmablate.data.prepare import prepare_data


def prepare(cfg: DictConfig) -> None:
    """Find or make the tokenizer and the token files that `cfg` names, and print their paths."""
    check_config(cfg)
    data = prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir)
    print(f"{data.tokenizer_path}  text {data.fingerprint[:12]}")
    for tokens in (data.train, data.valid):
        print(f"{tokens.path}  {tokens.n_tokens:,} tokens of {tokens.bytes_per_token:.2f} bytes")


if __name__ == "__main__":
    from lmablate.prepare import prepare  # not __main__.prepare: launchers pickle it by its name for other processes

    run_hydra_command(prepare, str, check_config)
