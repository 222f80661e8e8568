"""jobs.jsonl: the jobs that a launcher started for a sweep, one JSON object per line."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lmablate.files import COUNT, TEXT, TEXTS, object_of, read_record_lines

_NAME = "jobs.jsonl"
_SCHEMA = object_of(
    {"number": COUNT, "overrides": TEXTS} | dict.fromkeys(["job_id", "launcher", "folder", "log", "submitted"], TEXT)
)


@dataclass(frozen=True)
class JobEntry:
    """One job of a sweep.

    Attributes:
        number: Hydra's `hydra.job.num`; counts from 0.
        job_id: the scheduler's id: SLURM's, or the number again for local processes.
        launcher: class name of the launcher.
        overrides: the job's own overrides.
        folder: Hydra's folder of the job.
        log: path of its log file.
        submitted: time of submission in UTC, ISO 8601.
    """

    number: int
    job_id: str
    launcher: str
    overrides: list[str]
    folder: str
    log: str
    submitted: str


def append_jobs(sweep_dir: Path, entries: Iterable[JobEntry]) -> None:
    """Append entries to the list in `sweep_dir`, Hydra's folder of the sweep."""
    with (sweep_dir / _NAME).open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(asdict(entry)) + "\n")


def read_jobs(runs_dir: Path) -> Iterator[JobEntry]:
    """Yield the jobs of every sweep that was launched with this `runs_dir`."""
    for path in runs_dir.glob(f".jobs/*/*/{_NAME}"):
        for record in read_record_lines(path, _SCHEMA):
            yield JobEntry(**record)
