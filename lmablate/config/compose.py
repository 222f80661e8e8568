"""Compose configs from overrides outside `hydra.main`, exactly as `python -m lmablate.train` does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from lmablate.config.hydra_patches import quote_group_values
from lmablate.config.schema import CONF, Config

CONFIG_NAME = "config"


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml uses in its defaults list."""
    ConfigStore.instance().store(name="schema", node=Config)


@contextmanager
def config_folder() -> Iterator[None]:
    """Let Hydra find conf/ during the block; `compose_config` and `compose_job` need it."""
    register_schema()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # Hydra refuses to be initialised twice, as in a task that Hydra itself has started
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose the config of a command line, without its `hydra` node.

    Raises:
        HydraException: if the overrides do not compose.
    """
    return compose(CONFIG_NAME, overrides=quote_group_values(overrides))


def compose_job(overrides: Sequence[str]) -> tuple[DictConfig, DictConfig, dict[str, str]]:
    """Compose the config of a command line, and say what was chosen.

    Returns:
        The config, its `hydra` node, and the chosen option of each group.

    Raises:
        HydraException: if the overrides do not compose.
    """
    cfg = compose(CONFIG_NAME, overrides=quote_group_values(overrides), return_hydra_config=True)
    hydra_cfg = cfg.hydra
    with open_dict(cfg):
        cfg.pop("hydra")
    return cfg, hydra_cfg, group_choices(hydra_cfg)


def group_choices(hydra_cfg: Any = None) -> dict[str, str]:
    """Return the chosen option of each config group, such as {"model/pos": "rope"}, without Hydra's own groups.

    Args:
        hydra_cfg: the `hydra` node of a composed config; by default that of the running Hydra job. Outside a job the
            result is then empty.
    """
    if hydra_cfg is None:
        if not HydraConfig.initialized():
            return {}
        hydra_cfg = HydraConfig.get()
    chosen = hydra_cfg.runtime.choices
    return {key: str(value) for key, value in chosen.items() if not key.startswith("hydra/") and value is not None}
