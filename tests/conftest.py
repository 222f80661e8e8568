"""Shape annotations are executable: in tests, every call into these modules is checked against them."""

import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from jaxtyping import install_import_hook
from omegaconf import DictConfig

# A shell that starts the tests in the background has the interrupt ignored, and `nohup` the hang-up.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # the tensors of tests are small, and other jobs may want the cores
install_import_hook(["lmablate.model", "lmablate.training.optim"], "beartype.beartype")

from lmablate.config.compose import compose_config as compose  # noqa: E402 (the hook must come first)
from lmablate.config.compose import config_folder  # noqa: E402


@pytest.fixture(scope="session")
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """The config of a command line's overrides, composed from conf/ as `python -m lmablate.train` does."""
    with config_folder():
        yield lambda *overrides: compose(overrides)
