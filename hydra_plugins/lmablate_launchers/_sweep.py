"""What the launchers share: a job that any process can run, the list of the jobs, and the final account."""

import functools
import logging
import pickle
import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lmablate.errors import UserError
from lmablate.runs.job_list import JobEntry, append_jobs
from lmablate.runs.stop_signal import Preempted

log = logging.getLogger(__name__)


class NonZeroExit(RuntimeError):
    """A job called sys.exit() with a code that says so."""


class SweepFailed(SystemExit):
    """A job of a sweep failed, says its message: the process ends with exit code 1, and no traceback."""


class LaunchError(UserError, CompactHydraException):
    """The sweep cannot be launched as it was asked for."""


@dataclass(frozen=True)
class HydraJob:
    """One job of a sweep, complete in itself: pickle it, send it to another process, call it there.

    Attributes:
        number: what Hydra calls `hydra.job.num`; counts from 0.
        label: the job as people know it, such as "job 3/8 model/pos=rope seed=1".
    """

    number: int
    label: str
    overrides: list[str]
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    singletons: dict[Any, Any] = field(default_factory=Singleton.get_state, repr=False)

    def compose(self, job_id: str) -> DictConfig:
        """The job's own config, `hydra` included."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = job_id
            config.hydra.job.num = self.number
        return config

    def __call__(self, job_id: str) -> JobReturn:
        """Run as Hydra runs a job, except that a failure is raised here, where the scheduler can see it."""
        logging.basicConfig(level=logging.INFO, format="%(message)s")  # for apps without Hydra's job_logging
        Singleton.set_state(self.singletons)
        setup_globals()
        result = run_job(
            hydra_context=self.hydra_context,
            task_function=_without_exits(self.task_function),
            config=self.compose(job_id),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        _ = result.return_value  # Hydra keeps an exception here, and raises it on access
        return result


def _without_exits(task_function: TaskFunction) -> TaskFunction:
    """sys.exit() in a task would end the worker without a result: turn it into a return or a failure."""

    @functools.wraps(task_function)
    def task(config: Any) -> Any:
        try:
            return task_function(config)
        except Preempted:
            raise
        except SystemExit as leaving:
            if leaving.code in (None, 0):
                return None
            raise NonZeroExit(f"the job called sys.exit({leaving.code!r})") from leaving

    return task


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a result, or with a failure in one line."""

    job: HydraJob
    result: JobReturn | None = None
    failure: str = ""

    def as_job_return(self) -> JobReturn:
        """What Hydra's sweeper expects; it raises when the sweeper reads a failed job's return value."""
        if self.result is not None:
            return self.result
        failed = JobReturn(overrides=self.job.overrides, status=JobStatus.FAILED)
        failed.return_value = SweepFailed(f"{self.job.label}: {self.failure}")
        return failed


class SweepLauncher(Launcher):
    """A launcher that runs all jobs to their ends before any failure is raised."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        labels = _labels(job_overrides, initial_job_idx)
        jobs = [
            HydraJob(number, label, list(overrides), self.config, self.hydra_context, self.task_function)
            for number, (label, overrides) in enumerate(zip(labels, job_overrides, strict=True), initial_job_idx)
        ]
        outcomes = self.run(jobs)
        _report(outcomes)
        return [outcome.as_job_return() for outcome in outcomes]

    @abstractmethod
    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        """Run the jobs to their ends; one outcome each, in order, and no exception for a failed job."""

    def record(self, jobs: Iterable[tuple[HydraJob, str, Path]]) -> None:
        """Append (job, scheduler's id, log file) to the sweep's list of jobs."""
        append_jobs(self.sweep_dir, (self._entry(*job) for job in jobs))

    def _entry(self, job: HydraJob, job_id: str, log_file: Path) -> JobEntry:
        return JobEntry(
            number=job.number,
            job_id=job_id,
            launcher=type(self).__name__,
            overrides=list(filter_overrides(job.overrides)),
            folder=str(self.sweep_dir / str(job.compose(job_id).hydra.sweep.subdir)),
            log=str(log_file),
            submitted=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def read_result(path: Path) -> JobReturn | str | None:
    """What a worker left in its file: the job's result, its error in one line, or None without a file."""
    try:
        with path.open("rb") as file:
            status, value = pickle.load(file)
    except FileNotFoundError:
        return None
    return value if status == "success" else error_line(value)


def error_line(traceback: str) -> str:
    """The exception at the end of a formatted traceback, in one line, without frames and module."""
    lines = traceback.strip().splitlines()
    last_frame = max((i for i, line in enumerate(lines) if line.startswith("  ")), default=-1)
    error = " ".join(lines[last_frame + 1 :]) or lines[-1]
    return re.sub(r"^(\w+\.)+(?=\w+:)", "", error)


def _labels(job_overrides: Sequence[Sequence[str]], first: int) -> list[str]:
    """Name each job by the overrides that tell it from the others."""
    common = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    total = first + len(job_overrides)
    return [
        " ".join([f"job {number}/{total}", *(o for o in filter_overrides(overrides) if o not in common)])
        for number, overrides in enumerate(job_overrides, first + 1)
    ]


def _report(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    failed = [outcome for outcome in outcomes if outcome.result is None]
    log.info("%d of %d jobs done", len(outcomes) - len(failed), len(outcomes))
    for outcome in failed:
        log.error("%s: %s", outcome.job.label, outcome.failure)
