"""wandb, online or offline."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lmablate.errors import UserError
from lmablate.training.tracking.tracker import NoTracking

log = logging.getLogger(__name__)


# What wandb accepts as the name of a project.
PROJECT = re.compile(r"[^/\\#?%:\s][^/\\#?%:\n]{0,127}")
Mode = Literal["online", "offline", "disabled"]
# The values of WANDB_MODE, older names included, as a mode.
MODES: dict[str, Mode] = {
    "online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled",
}  # fmt: skip


class Wandb(NoTracking):
    """A run in wandb, sent to its server at once ("online"), or later by `wandb sync` ("offline").

    Without an API key, or if no server answers, an online run is tracked offline, with a warning. wandb's step and id
    are those of the run itself, so a run that was stopped and resumed stays one run in wandb.

    Args:
        project: wandb's project.
        mode: "online" or "offline"; the variables WANDB_MODE and WANDB_DISABLED are obeyed first, as wandb itself does.

    Raises:
        UserError: if wandb does not allow such a project, or knows no such WANDB_MODE.
    """

    def __init__(self, project: str = "lmablate", mode: Literal["online", "offline"] = "offline") -> None:
        if not PROJECT.fullmatch(project):
            rule = "wandb wants 1 to 128 characters, and none of / \\ # ? % :"
            raise UserError(f"tracking.project={project!r} is not allowed: {rule}.")
        self._project = project
        self._mode: Mode = _mode_of_environment() or mode
        self._run: Any = None

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin the run in wandb, or resume it."""
        if self._mode == "disabled":
            return
        if not os.environ.get("WANDB_MODE", "").strip():
            os.environ.pop("WANDB_MODE", None)  # wandb refuses an empty one
        logging.getLogger("wandb").setLevel(logging.CRITICAL)  # it logs its own failures; `Guarded` says what matters
        import wandb  # here: its import takes 1.5 s, which a run without wandb does not wait for
        from wandb.errors import CommError, UsageError

        options: dict[str, Any] = dict(
            project=self._project, dir=folder, id=run_id, name=run_id, group=group, config=dict(config)
        )
        quiet = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, x_save_requirements=False, init_timeout=30
        )
        try:
            self._run = wandb.init(mode=self._mode, resume="allow", settings=quiet, **options)
        except (UsageError, CommError) as error:  # no key, no server
            if self._mode == "offline":
                raise
            log.warning("wandb cannot be reached (%s): tracking offline, send it later with `wandb sync`", error)
            self._run = wandb.init(mode="offline", settings=quiet, **options)

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row, under wandb's own step."""
        if self._run is not None:
            metrics = {key: value for key, value in row.items() if key != "step"}
            self._run.log(metrics, step=int(row["step"]))

    def finish(self, failed: bool = False) -> None:
        """End the run in wandb, with exit code 1 if it failed."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))

    def abandon(self) -> None:
        """Leave wandb's service, which would otherwise report its own failure once more when the process ends."""
        import wandb

        wandb.teardown()


def _mode_of_environment() -> Mode | None:
    """Return the mode that wandb's own variables ask for; None if they are not set."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"
    name = os.environ.get("WANDB_MODE", "").strip().lower()
    if name and name not in MODES:
        raise UserError(f"The environment has WANDB_MODE={name}: it must be one of {', '.join(MODES)}.")
    return MODES.get(name)
