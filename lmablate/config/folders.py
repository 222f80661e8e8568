"""The folders that a config names: absolute, and spared where they may only be read."""

import functools
import os
import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lmablate.config.schema import FOLDERS
from lmablate.errors import UserError
from lmablate.files import user_path


def expand_folders(cfg: DictConfig) -> None:
    """Make the config's folders absolute, in place: `~` is the home folder, a relative path is taken from here.

    Raises:
        UserError: if one of them is not a path, or cannot be a folder because a file is in its place.
    """
    for key in FOLDERS:
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if not isinstance(value, str):
            raise UserError(f"{key}={value} is not a path: it must be text.")
        folder = user_path(key, value).absolute()
        nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        if not os.path.isdir(nearest):
            raise UserError(f"{key}={value} is not a folder: {nearest} is a file.")
        cfg[key] = str(folder)


def spare_read_only_runs(cfg: DictConfig) -> None:
    """Move a sweep's list of jobs and its logs, in place, to a temporary folder if `runs_dir` may only be read.

    A sweep whose runs are all done then needs no permission to write; another one is refused run by run.
    """
    runs_dir = Path(cfg.runs_dir)
    if runs_dir.is_dir() and not os.access(runs_dir, os.W_OK):
        cfg.hydra.sweep.dir = _temporary_folder()


@functools.cache
def _temporary_folder() -> str:
    return tempfile.mkdtemp(prefix="lmablate-")
