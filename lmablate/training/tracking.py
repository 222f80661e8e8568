"""Mirrors of a run's metrics. The rows are in metrics.jsonl in any case, so a mirror may fail without harm."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)


class NoTracking:
    """Mirrors nothing. Its methods are the interface that every tracker has."""

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin to mirror a run.

        Args:
            folder: the run's folder.
            run_id: the run's id.
            group: name of its experiment.
            config: its resolved config.
        """

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row of metrics.jsonl; its "step" is among the keys."""

    def finish(self, failed: bool = False) -> None:
        """End the mirrored run, as failed or as done."""


class Wandb(NoTracking):
    """A run in wandb, sent to its server at once ("online"), or later by `wandb sync` ("offline").

    Without an API key, or if no server answers, an online run is tracked offline, with a warning. wandb's step and id
    are those of the run itself, so a run that was stopped and resumed stays one run in wandb.

    Args:
        project: wandb's project.
        mode: "online" or "offline".
    """

    def __init__(self, project: str = "lmablate", mode: Literal["online", "offline"] = "offline") -> None:
        self._project = project
        self._mode: Literal["online", "offline"] = mode
        self._run: Any = None

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin the run in wandb, or resume it."""
        import wandb  # here: its import takes 1.5 s, which a run without wandb does not wait for
        from wandb.errors import CommError, UsageError

        options: dict[str, Any] = dict(
            project=self._project, dir=folder, id=run_id, name=run_id, group=group, config=dict(config)
        )
        quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=30)
        try:
            self._run = wandb.init(mode=self._mode, resume="allow", settings=quiet, **options)
        except (UsageError, CommError) as error:  # no key, no server
            log.warning("wandb cannot be reached (%s): tracking offline, send it later with `wandb sync`", error)
            self._run = wandb.init(mode="offline", settings=quiet, **options)
        except OSError as error:
            log.warning("wandb cannot start (%s): the metrics are in metrics.jsonl only", error)

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row, under wandb's own step."""
        if self._run is not None:
            metrics = {key: value for key, value in row.items() if key != "step"}
            self._run.log(metrics, step=int(row["step"]))

    def finish(self, failed: bool = False) -> None:
        """End the run in wandb, with exit code 1 if it failed."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))
