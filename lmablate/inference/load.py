"""A finished or half-finished run, read back from its folder for use."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build, build_model
from lmablate.data.prepare import prepare_data
from lmablate.data.tokens import TokenFile
from lmablate.errors import UserError
from lmablate.machine import pick_device
from lmablate.model import Transformer
from lmablate.runs.run import Run
from lmablate.tokenizer import Tokenizer
from lmablate.training.checkpoint import load_checkpoint


@dataclass(frozen=True)
class LoadedRun:
    """A run's model, in evaluation mode, with the weights of its newest good checkpoint, taken after `step` updates."""

    run: Run
    cfg: DictConfig
    model: Transformer
    tokenizer: Tokenizer
    step: int

    def validation_tokens(self) -> TokenFile:
        """The validation file that the run was evaluated on, prepared again where it is gone.

        Raises UserError where the source has changed since.
        """
        prepared = prepare_data(build(self.cfg.data), self.cfg.tokenizer, self.cfg.data_dir)
        trained_on = self.run.facts()["identity"]["data_fingerprint"]
        if prepared.fingerprint != trained_on:
            raise UserError(
                f"{self.run.folder} was trained on the text {trained_on[:12]}, and its source is now "
                f"{prepared.fingerprint[:12]}."
            )
        return prepared.valid


def find_run(name: str, runs_dir: Path) -> Run:
    """The run whose folder is `name`, or whose id below `runs_dir` begins with it.

    Raises UserError where there is none, or more than one.
    """
    if (Path(name) / "run.json").is_file():
        return Run(Path(name))
    found = [path.parent for path in sorted(runs_dir.glob("*/run.json")) if name and path.parent.name.startswith(name)]
    if not found:
        raise UserError(f"run={name} is neither a run's folder nor the beginning of a run's id below {runs_dir}.")
    if len(found) > 1:
        some = ", ".join(folder.name for folder in found[:4]) + (", ..." if len(found) > 4 else "")
        raise UserError(f"run={name} is the beginning of {len(found)} runs' ids: {some}.")
    return Run(found[0])


def load_run(name: str, runs_dir: Path | str = "runs", device: str = "cpu") -> LoadedRun:
    """The run that `name` means (see `find_run`), on `device`.

    Raises UserError where a file of it is missing or damaged, or where its config asks for a class that is not ours.
    """
    run = find_run(name, Path(runs_dir))
    cfg = _read_config(run.folder / "config.yaml")
    model = build_model(cfg)
    state = load_checkpoint(run.checkpoints, model)
    if state is None:
        raise UserError(f"{run.folder} has no good checkpoint: train it for some steps first.")
    if not run.tokenizer_path.is_file():
        raise UserError(f"{run.tokenizer_path} is missing: the run's folder is not whole.")
    model = model.to(pick_device(device)).eval()
    return LoadedRun(run, cfg, model, Tokenizer.from_files(run.tokenizer_path), int(state["step"]))


def _read_config(path: Path) -> DictConfig:
    """A run's resolved config.yaml."""
    try:
        cfg = OmegaConf.load(path)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if not isinstance(cfg, DictConfig) or not {"model", "tokenizer", "seed"} <= cfg.keys():
        raise UserError(f"{path} is not the config of a run.")
    return cfg
