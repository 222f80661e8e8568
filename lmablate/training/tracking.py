"""Mirrors of a run's metrics. metrics.jsonl comes first; a mirror may be off or unreachable without hurting a run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)


class NoTracking:
    """Keeps nothing."""

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begins mirroring the run in `folder`; `group` is its experiment."""

    def log(self, row: Mapping[str, float]) -> None:
        """One row of metrics.jsonl, with its "step"."""

    def finish(self, failed: bool = False) -> None:
        """Ends the mirror's run."""


class Wandb(NoTracking):
    """wandb, offline (`wandb sync` sends it later) or online.

    Without a key, or without a server that answers, it goes on offline and says so. `_step` is passed
    explicitly and the id is the run's own, so that a resumed run stays one run.
    """

    def __init__(self, project: str = "lmablate", mode: Literal["online", "offline"] = "offline") -> None:
        self.project = project
        self.mode: Literal["online", "offline"] = mode
        self.run: Any = None

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        import wandb  # 1.5 s: only for those who track with it
        from wandb.errors import CommError, UsageError

        options: dict[str, Any] = dict(
            project=self.project, dir=folder, id=run_id, name=run_id, group=group, config=dict(config)
        )
        quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=30)
        try:
            self.run = wandb.init(mode=self.mode, resume="allow", settings=quiet, **options)
        except (UsageError, CommError) as error:  # no key, no server
            log.warning("wandb cannot be reached (%s): tracking offline, send it later with `wandb sync`", error)
            self.run = wandb.init(mode="offline", settings=quiet, **options)
        except OSError as error:
            log.warning("wandb cannot start (%s): metrics.jsonl alone will have this run", error)

    def log(self, row: Mapping[str, float]) -> None:
        if self.run is not None:
            metrics = {key: value for key, value in row.items() if key != "step"}
            self.run.log(metrics, step=int(row["step"]))

    def finish(self, failed: bool = False) -> None:
        if self.run is not None:
            self.run.finish(exit_code=int(failed))
