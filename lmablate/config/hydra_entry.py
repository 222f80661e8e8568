"""Run commands that use Hydra, with one sentence per mistake and a fixed exit code.

The exit code is 0 for success, 1 for a run that failed, 2 for a mistake by the user, and 128 + N after signal N.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lmablate.config import hydra_patches
from lmablate.config.compose import CONFIG_NAME, register_schema
from lmablate.config.credentials import refuse_typed_secrets
from lmablate.config.schema import CONF
from lmablate.errors import Diverged, UserError, print_error

HELP_FLAGS = {"--help", "-h"}


class JobFailed(Exception):
    """A Hydra job ended with an exception, which is the `__cause__` of this one."""


def run_hydra_command(task: Callable[[DictConfig], Any], usage: str | None = None) -> None:
    """Run `task` as a command over conf/config.yaml: once, or, under -m, once for each job of a sweep.

    After a mistake by the user the process prints one sentence and ends with exit code 2, after a failed run with 1. A
    sweep first runs all jobs that can be run.

    Args:
        task: called with the composed config of each job.
        usage: what --help prints; by default Hydra's help, which lists the groups and the whole config.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if usage is not None and HELP_FLAGS & {*sys.argv[1:]}:
        print(usage.strip())
        return
    arguments = hydra_patches.quote_group_values(sys.argv[1:])
    hydra_patches.set_command_line(arguments)
    hydra_patches.raise_errors()
    hydra_patches.replace_return_value(_result_or_raise)
    hydra_patches.check_every_config()
    hydra_patches.clear_text_resolvers()
    register_schema()
    try:
        refuse_typed_secrets(arguments)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)(task)()
    except JobFailed as error:
        cause = error.__cause__ or error
        if not isinstance(cause, UserError | Diverged):
            traceback.print_exception(cause)
        print_error(str(error))
        sys.exit(2 if isinstance(cause, UserError) else 1)
    except Exception as error:  # no job has run yet: the overrides do not compose, or Hydra cannot make its folder
        if isinstance(error, OSError) and error.filename:
            error = UserError(f"runs_dir cannot be written: {error.filename}: {error.strerror}.")
        print_error(_one_sentence(error))
        sys.exit(2)


def run_override_command(task: Callable[[list[str]], Any], usage: str | None) -> None:
    """Run `task` as a command that composes configs itself, from the overrides on its command line.

    After a mistake by the user the process prints one sentence and ends with exit code 2.

    Args:
        task: called with the command line's arguments.
        usage: what --help prints: the docstring of the command's module.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = sys.argv[1:]
    if HELP_FLAGS & {*arguments}:
        print((usage or "").strip())
        return
    try:
        refuse_typed_secrets(arguments)
        task(arguments)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print_error(_one_sentence(error))
        sys.exit(2)


class ReportFailures(Callback):
    """Reports a failed run of a sweep at once; Hydra itself reports only the first one, when all runs have ended."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Print the failure, if the job failed and belongs to a sweep."""
        if job_return.status == JobStatus.FAILED and config.hydra.mode == RunMode.MULTIRUN:
            print_error(f"failed, continuing with the rest: {_describe_failure(job_return)}")


def _result_or_raise(job: JobReturn) -> Any:
    """Return what the job returned, or raise JobFailed; see `hydra_patches.replace_return_value`."""
    if job.status == JobStatus.COMPLETED:
        return job._return_value
    if isinstance(job._return_value, SystemExit):  # from one of our launchers, which has reported everything
        raise job._return_value
    raise JobFailed(_describe_failure(job)) from job._return_value


def _describe_failure(job: JobReturn) -> str:
    """Return a failed job's error as one sentence, after the job's overrides if it belongs to a sweep."""
    swept = job.hydra_cfg is not None and job.hydra_cfg.hydra.mode == RunMode.MULTIRUN
    return f"{' '.join(job.overrides or []) + ': ' if swept else ''}{_one_sentence(job._return_value)}"


def _one_sentence(error: BaseException) -> str:
    """Return the message of an error without the lines that Hydra adds, followed by the reason behind it."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("object_type=", "reference_type=", "Config search path:", "provider=", "See https")
    text = " ".join(line for line in lines if line and not line.startswith(noise))
    return f"{text}: {_one_sentence(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else text
