from pathlib import Path

import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file in which the forked processes of a test write their messages."""
    return tmp_path / "log"
