"""Shape annotations are executable: in tests, every call into these modules is checked against them."""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

import hypothesis
import pytest
import torch
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook
from omegaconf import DictConfig

import tests.annotations  # noqa: F401 (the import hook below reads it as an attribute of `tests`)

# A shell that starts the tests in the background makes them ignore the interrupt, and `nohup` the hang-up.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A deadline would fail a test because another process has the cores, and random inputs would fail a change that has
# nothing to do with what they found. `make test-faults` draws new inputs each time.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")
torch.set_num_threads(1)  # the tensors of tests are small, and other jobs may want the cores
install_import_hook(["lmablate.model", "lmablate.training.optim"], "tests.annotations.checked")

# Only now, because the hook does not see what is imported already.
from lmablate.config.compose import compose_config as compose  # noqa: E402
from lmablate.config.compose import config_folder  # noqa: E402


@pytest.fixture(scope="session")
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """The config of a command line's overrides, composed from conf/ as `python -m lmablate.train` does."""
    with config_folder():
        yield lambda *overrides: compose(overrides)


@pytest.fixture
def in_a_notebook() -> Iterator[None]:
    """No call is checked against its annotations, as everywhere outside the tests; the functions answer themselves."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that choose a small text, which is prepared already, for tests that are about training."""
    from lmablate.config.build import build  # here: most tests do without the trainer, which `tiny` imports
    from lmablate.data.prepare import prepare_data
    from tests.tiny import configured, write_corpus

    overrides = write_corpus(tmp_path_factory.mktemp("corpus"))
    cfg = configured(*overrides)
    prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir)
    return overrides


@pytest.fixture(params=["flock", "no flock"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real file system, and one on which flock answers as Lustre does when mounted without it."""
    if request.param == "no flock":

        def refuse(*_: object) -> NoReturn:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr("lmablate.files.locks._LEASE_SECONDS", 3.0)
