"""Print the job: a command whose task prints what it was given, under real Hydra and without a model."""

import json

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lmablate.config.hydra_entry import run_hydra_command
from lmablate.errors import UserError


def print_job(cfg: DictConfig) -> None:
    """Print a line of JSON with the job's own overrides and its config, or fail if the config is named so."""
    if cfg.name == "mistake":
        raise UserError("name=mistake is a mistake.")
    if cfg.name == "missing":
        raise FileNotFoundError(2, "No such file or directory", "/nowhere")
    if cfg.name == "bug":
        raise ZeroDivisionError("a bug")
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    print(json.dumps({"overrides": overrides, "config": OmegaConf.to_container(cfg, resolve=True)}))


if __name__ == "__main__":
    run_hydra_command(print_job, str, lambda cfg: None)
