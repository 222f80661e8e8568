from pathlib import Path

import pytest

from lmablate.config import build as config
from lmablate.data.prepare import prepare_data
from tests.faults.harness import configured, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> list[str]:
    """Overrides that choose a small text, prepared already: the tests are about training."""
    overrides = write_corpus(tmp_path_factory.mktemp("corpus"))
    cfg = configured(*overrides)
    prepare_data(config.build(cfg.data), cfg.tokenizer, cfg.data_dir)
    return overrides


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the forked processes of a test write what they say."""
    return tmp_path / "log"
