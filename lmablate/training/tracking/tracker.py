"""What every tracker does, and the guard that keeps a broken one from stopping a run."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

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

    def abandon(self) -> None:
        """Let go of everything after a failure, without waiting for what cannot answer any more."""


class Guarded(NoTracking):
    """A tracker whose failures do not stop the run: after the first one, a warning is logged and nothing is mirrored.

    Args:
        tracker: the tracker that may fail.
    """

    def __init__(self, tracker: NoTracking) -> None:
        self._tracker: NoTracking | None = tracker

    def start(self, folder: Path, run_id: str, group: str, config: Mapping[str, Any]) -> None:
        """Begin to mirror a run, if that works."""
        self._try(lambda tracker: tracker.start(folder, run_id, group, config))

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row, unless an earlier call failed."""
        self._try(lambda tracker: tracker.log(row))

    def finish(self, failed: bool = False) -> None:
        """End the mirrored run, unless an earlier call failed."""
        self._try(lambda tracker: tracker.finish(failed))

    def _try(self, call: Callable[[NoTracking], None]) -> None:
        if self._tracker is None:
            return
        try:
            call(self._tracker)
        except (Exception, SystemExit) as error:  # a client may also want to end the process
            abandoned, self._tracker = self._tracker, None
            name = type(abandoned).__name__
            text = " ".join(str(error).split()) or type(error).__name__
            with suppress(Exception):
                abandoned.abandon()
            log.warning("%s has failed (%s): from here on it mirrors nothing, metrics.jsonl has every row", name, text)
