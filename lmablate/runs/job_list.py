"""jobs.jsonl: the jobs that a launcher started for a sweep, one JSON object per line."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "jobs.jsonl"


@dataclass(frozen=True)
class JobEntry:
    """One job of a sweep.

    Attributes:
        number: Hydra's `hydra.job.num`.
        job_id: the scheduler's id: SLURM's, or the number again for local processes.
        launcher: class name of the launcher.
        overrides: the job's own overrides.
        folder: Hydra's folder of the job.
        log: its log file.
        submitted: time in UTC, ISO 8601.
    """

    number: int
    job_id: str
    launcher: str
    overrides: list[str]
    folder: str
    log: str
    submitted: str


def append_jobs(sweep_dir: Path, entries: Iterable[JobEntry]) -> None:
    """Append entries to the list in `sweep_dir`."""
    with (sweep_dir / NAME).open("a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(asdict(entry)) + "\n")


def read_jobs(runs_dir: Path) -> Iterator[JobEntry]:
    """Yield the jobs of every sweep that was launched with `runs_dir`."""
    for path in runs_dir.glob(f".jobs/*/*/{NAME}"):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield JobEntry(**json.loads(line))
