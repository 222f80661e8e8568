"""Several trackers at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmablate.errors import UserError
from lmablate.training.tracking.tracker import Guarded, NoTracking


class Several(NoTracking):
    """Sends every row to several trackers. Each is guarded on its own: when one fails, the others go on.

    Args:
        trackers: the trackers by any names, under which a command line sets their keys, as in
            `tracking.trackers.wandb.project=mine`.

    Raises:
        UserError: if there is none, or if one is something else.
    """

    def __init__(self, trackers: Mapping[str, NoTracking]) -> None:
        if not isinstance(trackers, Mapping) or not trackers:
            raise UserError("tracking.trackers is not allowed: it must name at least one tracker (wandb: {...}).")
        for name, tracker in trackers.items():
            if not isinstance(tracker, NoTracking):
                kinds = ", ".join(kind.__name__ for kind in NoTracking.__subclasses__() if kind is not Guarded)
                raise UserError(f"tracking.trackers.{name} is not allowed: it must be a tracker (_target_: {kinds}).")
        self._trackers = [Guarded(tracker) for tracker in trackers.values()]

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin to mirror a run in every tracker."""
        for tracker in self._trackers:
            tracker.start(folder, run_id, group, config)

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row to every tracker."""
        for tracker in self._trackers:
            tracker.log(row)

    def finish(self, failed: bool = False) -> None:
        """End the mirrored run in every tracker."""
        for tracker in self._trackers:
            tracker.finish(failed)
