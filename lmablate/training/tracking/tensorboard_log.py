"""TensorBoard's event files, written by the SummaryWriter of torch."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.files import user_path
from lmablate.training.tracking.tracker import NoTracking


class TensorBoard(NoTracking):
    """Event files of a run: a scalar per metric, at the run's own steps, and, at its end, config and last scores.

    A run that was stopped and resumed goes on in the same folder. Its first row takes back what was written at that
    step or later, so no step has two points.

    Args:
        folder: the folder of all runs, of which each has its own in it, named by its id; None stands for
            `tensorboard/` in the run's own folder.

    Raises:
        UserError: if the package tensorboard is not installed, or if `folder` is no path.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError(
                "tracking=tensorboard needs the package tensorboard: install lmablate[tensorboard] or tensorboard, "
                "or choose tracking=none."
            )
        self._parent = None if folder is None else user_path("tracking.folder", folder).absolute()
        self._folder = Path()
        self._config: dict[str, Any] = {}
        self._scores: dict[str, float] = {}
        self._writer: Any = None

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Make the folder of the event files. They begin with the first row, which knows the first step."""
        self._folder = folder / "tensorboard" if self._parent is None else self._parent / run_id
        self._folder.mkdir(parents=True, exist_ok=True)
        self._config = _hyperparameters(config)

    def log(self, row: Mapping[str, float]) -> None:
        """Write one row. It is flushed, so a kill takes no row that the run will not compute again."""
        step = int(row["step"])
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # here: its import takes a second

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        self._scores = {name: value for name, value in row.items() if name != "step"}
        for name, value in self._scores.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._step = step

    def finish(self, failed: bool = False) -> None:
        """Close the files; a run that is done has its config and last scores in the table of hyperparameters first."""
        if self._writer is None:
            return
        if not failed:
            final = {f"final/{name}": value for name, value in self._scores.items()}
            self._writer.add_hparams(self._config, final, run_name=".", global_step=self._step)  # ".": no other folder
        self._writer.close()


def _hyperparameters(node: Any, key: str = "") -> dict[str, Any]:
    """Return the values of a nested config by dotted key; a list is text, and what has no value is left out."""
    if isinstance(node, Mapping):
        children = [_hyperparameters(child, f"{key}.{name}" if key else str(name)) for name, child in node.items()]
        return {name: value for child in children for name, value in child.items()}
    if node is None:
        return {}
    return {key: node if isinstance(node, bool | int | float | str) else str(node)}
