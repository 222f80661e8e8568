"""Code that the launchers share: a job that any process can run, the list of the jobs, and the final summary."""

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

from lmablate.config.console import degrade_characters
from lmablate.errors import UserError, counted
from lmablate.runs.job_list import JobEntry, append_jobs
from lmablate.runs.stop_signal import Preempted

log = logging.getLogger(__name__)


class NonZeroExit(RuntimeError):
    """A job called sys.exit() with a code other than 0."""


class SweepFailed(SystemExit):
    """A job of a sweep failed. The process ends with exit code 1 and prints the message, without a traceback."""


class LaunchError(UserError, CompactHydraException):
    """The settings of the launcher are wrong, or the scheduler refuses them."""


@dataclass(frozen=True)
class HydraJob:
    """One job of a sweep. It can be pickled, sent to another process, and called there.

    Attributes:
        number: Hydra's `hydra.job.num`; counts from 0.
        label: a readable name of the job, such as "job 3/8 model/pos=rope seed=1".
        overrides: the job's overrides.
        config: config of the sweep, `hydra` included.
        hydra_context: Hydra's loaders of configs.
        task_function: the function that a job calls with its config.
        singletons: Hydra's global state in the process that launches the sweep.
    """

    number: int
    label: str
    overrides: list[str]
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction
    singletons: dict[Any, Any] = field(default_factory=Singleton.get_state, repr=False)

    def compose(self, job_id: str) -> DictConfig:
        """Return the job's own config, `hydra` included; `job_id` is the scheduler's id."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.sweep.dir = self.config.hydra.sweep.dir  # the app may have moved it
            config.hydra.job.id = job_id
            config.hydra.job.num = self.number
        return config

    def __call__(self, job_id: str) -> JobReturn:
        """Run the job as Hydra does, but raise its failure here, where the scheduler sees it.

        Args:
            job_id: the scheduler's id.

        Raises:
            Exception: any that the task raises.
            NonZeroExit: if the task calls sys.exit() with a code other than 0.
        """
        degrade_characters()
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
    """Turn sys.exit() in a task, which would end the process without a result, into a return or a failure."""

    @functools.wraps(task_function)
    def task(config: Any) -> Any:
        try:
            return task_function(config)
        except Preempted:
            raise
        except SystemExit as error:
            if error.code in (None, 0):
                return None
            raise NonZeroExit(f"the job called sys.exit({error.code!r})") from error

    return task


@dataclass(frozen=True)
class Outcome:
    """The end of a job: a result or a failure.

    Attributes:
        job: the job.
        result: its result; None if it failed.
        failure: the reason of its failure in one line; empty if it did not fail.
    """

    job: HydraJob
    result: JobReturn | None = None
    failure: str = ""

    def as_job_return(self) -> JobReturn:
        """Return the outcome in Hydra's form. The sweeper reads its return value, which for a failed job raises."""
        if self.result is not None:
            return self.result
        failed = JobReturn(overrides=self.job.overrides, status=JobStatus.FAILED)
        failed.return_value = SweepFailed(f"{self.job.label}: {self.failure}")
        return failed


class SweepLauncher(Launcher):
    """A launcher that waits for the end of all jobs before it raises a failure. A subclass implements `run`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra hands over before it calls `launch`."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job per list of overrides; Hydra numbers them from `initial_job_idx`."""
        setup_globals()
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        labels = _labels(job_overrides, initial_job_idx)
        jobs = [
            HydraJob(number, label, list(overrides), self.config, self.hydra_context, self.task_function)
            for number, (label, overrides) in enumerate(zip(labels, job_overrides, strict=True), initial_job_idx)
        ]
        outcomes = self.run(jobs)
        _log_summary(outcomes)
        return [outcome.as_job_return() for outcome in outcomes]

    @abstractmethod
    def run(self, jobs: Sequence[HydraJob]) -> Sequence[Outcome]:
        """Run all jobs, and return their outcomes in the same order. A failed job raises no exception."""

    def list_jobs(self, jobs: Iterable[tuple[HydraJob, str, Path]]) -> None:
        """Append jobs to the sweep's jobs.jsonl, each given with the scheduler's id and its log file."""
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
    """Return what a job's process wrote to its result file.

    Returns:
        The job's result, or its error in one line; None if the file does not exist.
    """
    try:
        with path.open("rb") as file:
            status, value = pickle.load(file)
    except FileNotFoundError:
        return None
    return value if status == "success" else error_line(value)


def error_line(traceback: str) -> str:
    """Return the exception at the end of a formatted traceback, in one line and without its module."""
    lines = traceback.strip().splitlines()
    last_frame = max((i for i, line in enumerate(lines) if line.startswith("  ")), default=-1)
    error = " ".join(lines[last_frame + 1 :]) or lines[-1]
    return re.sub(r"^(\w+\.)+(?=\w+:)", "", error)


def _labels(job_overrides: Sequence[Sequence[str]], first: int) -> list[str]:
    """Return a label for each job, made of the overrides that not all jobs have in common."""
    common = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    total = first + len(job_overrides)
    return [
        " ".join([f"job {number}/{total}", *(o for o in filter_overrides(overrides) if o not in common)])
        for number, overrides in enumerate(job_overrides, first + 1)
    ]


def _log_summary(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    failed = [outcome for outcome in outcomes if outcome.result is None]
    log.info("%d of %s done", len(outcomes) - len(failed), counted(len(outcomes), "job"))
    for outcome in failed:
        log.error("%s: %s", outcome.job.label, outcome.failure)
