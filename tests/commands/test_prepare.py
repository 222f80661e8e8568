"""The entry point `python -m lmablate.prepare` and the data configs that it takes."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lmablate.config import build as config
from lmablate.data.corpora import Corpus

CONF = Path(__file__).parent.parent / "conf" / "data"


def run(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmablate.prepare", *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def text(tmp_path) -> list[str]:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(f"Once upon a time, {name}. " * 50)
    files = [f"data.{name}={tmp_path / name}.txt" for name in ("train", "valid")]
    return ["data=text", *files, f"data_dir={tmp_path / 'data'}", "tokenizer.vocab_size=270"]


def test_the_same_command_twice_says_the_same(text):
    first, second = run(*text), run(*text)
    assert first.returncode == second.returncode == 0, first.stderr
    assert "train.bin" in first.stdout
    assert first.stdout == second.stdout
    assert "encoding" in first.stderr
    assert "encoding" not in second.stderr


def test_bad_input_ends_in_a_sentence_and_exit_code_2(text, tmp_path):
    (tmp_path / "train.txt").write_bytes(b"abc\xff")
    failed = run(*text)
    assert failed.returncode == 2
    assert "train.txt is not UTF-8: byte 3 " in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_config_builds_a_corpus_of_its_name(path, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    cfg = OmegaConf.create({"data_dir": str(tmp_path), "data": OmegaConf.load(path)})
    if path.stem == "text":
        cfg.data.update({"train": str(tmp_path / "a.txt"), "valid": str(tmp_path / "a.txt")})
    corpus = config.build(cfg.data)
    assert isinstance(corpus, Corpus)
    assert corpus.name == path.stem
    assert corpus.identity()["corpus"] == path.stem
