"""What conf/ chooses can be built."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build
from lmablate.config.schema import CONF
from lmablate.data.corpora import Corpus


@pytest.mark.parametrize("path", sorted((CONF / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_config_builds_a_corpus_of_its_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    cfg = OmegaConf.create({"data_dir": str(tmp_path), "data": OmegaConf.load(path)})
    assert isinstance(cfg, DictConfig)
    if path.stem == "text":
        cfg.data.update({"train": str(tmp_path / "a.txt"), "valid": str(tmp_path / "a.txt")})
    corpus = build(cfg.data)
    assert isinstance(corpus, Corpus)
    assert corpus.name == path.stem
    assert corpus.identity()["corpus"] == path.stem
