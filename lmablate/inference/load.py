"""Read a run back from its folder, to use its model; the run need not be finished."""

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build, build_model
from lmablate.config.sources import class_fingerprints
from lmablate.data.prepare import prepare_data
from lmablate.data.tokens import TokenFile
from lmablate.errors import UserError, reason
from lmablate.files import read_text, user_path
from lmablate.machine import pick_device
from lmablate.model import Transformer
from lmablate.runs.run import Run
from lmablate.tokenizer import Tokenizer
from lmablate.training.checkpoint import load_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedRun:
    """A run with its model, in evaluation mode.

    Attributes:
        run: the run's folder.
        cfg: its resolved config.
        model: the model, with the weights of the run's newest good checkpoint, or their average if one is kept.
        tokenizer: the run's tokenizer.
        step: number of updates before that checkpoint was taken.
    """

    run: Run
    cfg: DictConfig
    model: Transformer
    tokenizer: Tokenizer
    step: int

    def validation_tokens(self, data_dir: Path | None = None) -> TokenFile:
        """Return the validation tokens that the run was evaluated on, preparing them again if they were deleted.

        Args:
            data_dir: the folder of all prepared data; None for the one that the run used.

        Raises:
            UserError: if the source of the text has changed since.
        """
        prepared = prepare_data(build(self.cfg.data), self.cfg.tokenizer, data_dir or self.cfg.data_dir)
        trained_on = self.run.facts()["identity"]["data_fingerprint"]
        if prepared.fingerprint != trained_on:
            raise UserError(
                f"{self.run.folder} was trained on the text {trained_on[:12]}, and its source is now "
                f"{prepared.fingerprint[:12]}."
            )
        return prepared.valid


def find_run(name: str | Path, runs_dir: Path | str) -> Run:
    """Return the run whose folder is `name`, or the run in `runs_dir` whose id begins with `name`.

    Args:
        name: a run's folder, or the beginning of its id.
        runs_dir: the folder of all runs.

    Raises:
        UserError: if there is no such run, or more than one.
    """
    name, runs_dir = str(name), Path(runs_dir)
    folder = user_path("run", name)
    if (folder / "run.json").is_file():
        return Run(folder)
    found = [path.parent for path in sorted(runs_dir.glob("*/run.json")) if name and path.parent.name.startswith(name)]
    if not found:
        raise UserError(f"run={name} is neither a run's folder nor the beginning of a run's id below {runs_dir}.")
    if len(found) > 1:
        some = ", ".join(folder.name for folder in found[:4]) + (", ..." if len(found) > 4 else "")
        raise UserError(f"run={name} is the beginning of {len(found)} runs' ids: {some}.")
    return Run(found[0])


def load_run(name: str | Path, runs_dir: Path | str = "runs", device: str = "cpu") -> LoadedRun:
    """Load a run's config, tokenizer and newest good checkpoint.

    Args:
        name: a run's folder, or the beginning of its id.
        runs_dir: the folder of all runs.
        device: the device for the model: "auto", "cpu" or "cuda".

    Raises:
        UserError: if there is no such run, if a file of it is missing or damaged, or if its config names a class that
            neither lmablate nor a package that the user trusts defines.
    """
    run = find_run(name, runs_dir)
    cfg = read_run_config(run.folder / "config.yaml")
    trained_with = run.facts()["identity"].get("own_code", {})
    for target, fingerprint in class_fingerprints(OmegaConf.to_container(cfg.model)).items():
        if trained_with.get(target, fingerprint) != fingerprint:
            log.warning("%s has changed since run %s was trained: the text may be another model's", target, run.id)
    model = build_model(cfg)
    state = load_checkpoint(run.checkpoints, model, averaged=True)
    if state is None:
        raise UserError(f"{run.folder} has no good checkpoint: train it for some steps first.")
    if not run.tokenizer_path.is_file():
        raise UserError(f"{run.tokenizer_path} is missing: the run's folder is not whole.")
    model = model.to(pick_device(device)).eval()
    return LoadedRun(run, cfg, model, Tokenizer.from_files(run.tokenizer_path), int(state["step"]))


def read_run_config(path: Path) -> DictConfig:
    """Return a run's resolved config.

    Raises:
        UserError: if the file cannot be read, or is no such config.
    """
    try:
        cfg = OmegaConf.create(read_text(path))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    if not isinstance(cfg, DictConfig) or not {"model", "tokenizer", "seed"} <= cfg.keys():
        raise UserError(f"{path} is not the config of a run.")
    return cfg
