import pytest

from tests.tiny import overrides


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides of a tiny run in a folder that the tests of a module share."""
    return overrides(tmp_path_factory.mktemp("commands"))
