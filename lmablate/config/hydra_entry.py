"""Run commands that use Hydra, with one sentence per mistake and a fixed exit code.

The exit code is 0 for success, 1 for a run that failed, 2 for a mistake by the user, and 128 + N after signal N.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, open_dict
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from lmablate.config import hydra_patches
from lmablate.config.command_line import parse_command_line
from lmablate.config.compose import (
    compose_config,
    config_folder,
    plain_parameters,
    plain_sweeps,
    register_schema,
)
from lmablate.config.console import COMMON_FLAGS, asks_for_help, command_ending, docstring_of, typed_arguments
from lmablate.config.credentials import refuse_typed_secrets
from lmablate.config.folders import expand_folders, spare_read_only_runs
from lmablate.config.project import searched_by_us, take_trust
from lmablate.config.schema import CONF
from lmablate.config.suggest import describe_composition, describe_python_error
from lmablate.config.trust import refuse_unsafe_config
from lmablate.errors import Diverged, UserError, print_error


class JobFailed(Exception):
    """A Hydra job ended with an exception, which is the `__cause__` of this one."""


def run_hydra_command(
    task: Callable[[DictConfig], Any],
    usage: Callable[[str], str],
    check: Callable[[DictConfig], Any],
) -> None:
    """Run `task` as a command over conf/config.yaml: once, or, under -m, once for each job of a sweep.

    After a mistake by the user the process prints one sentence and ends with exit code 2, after a failed run with 1. A
    sweep first runs all jobs that can be run.

    Args:
        task: called with the composed config of each job.
        usage: returns what --help prints, from the docstring of the command's module.
        check: called with the config of a single run before anything is written, even by Hydra.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = typed_arguments()
    # No job fails here, see JobFailed: what is left are overrides that do not compose, and launchers that do not exist.
    with command_ending(lambda error: _describe_mistake(error) or _describe_hydra(error)):
        if asks_for_help(arguments):
            print(f"{usage(docstring_of(task)).strip()}\n\n{COMMON_FLAGS}")
            return
        refuse_typed_secrets(arguments)
        arguments = take_trust(arguments)
        line = parse_command_line(arguments, shows=True)

        def check_composed(cfg: DictConfig) -> None:
            refuse_unsafe_config(cfg)
            expand_folders(cfg)
            plain_parameters(cfg.hydra)
            spare_read_only_runs(cfg)
            if cfg.hydra.mode == RunMode.RUN:
                check(_without_hydra(cfg))
            else:
                _look_up_references(_without_hydra(cfg))

        hydra_patches.raise_errors()
        hydra_patches.replace_return_value(_result_or_raise)
        hydra_patches.check_every_config(check_composed)
        hydra_patches.clear_text_resolvers()
        register_schema()
        with config_folder(line):
            line = plain_sweeps(line)
        hydra_patches.set_command_line(line.for_hydra())
        try:
            with searched_by_us():
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=line.config_name)(task)()
        except JobFailed as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.filename is None:  # of the output: a closed pipe, a full disk
                raise cause from None
            by_user = isinstance(cause, UserError | HydraException | OmegaConfBaseException)
            if not by_user and not isinstance(cause, Diverged | OSError):
                traceback.print_exception(cause)
            print_error(str(error))
            sys.exit(2 if by_user else 1)


def run_override_command(task: Callable[[list[str]], Any]) -> None:
    """Run `task` as a command that composes configs itself, from the overrides on its command line.

    After a mistake by the user the process prints one sentence and ends with exit code 2. --help prints the docstring
    of the command's module.

    Args:
        task: called with the command line's arguments.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = typed_arguments()
    with command_ending(_describe_mistake):
        if asks_for_help(arguments):
            print(f"{docstring_of(task).strip()}\n\n{COMMON_FLAGS}")
            return
        refuse_typed_secrets(arguments)
        hydra_patches.clear_text_resolvers()
        task(take_trust(arguments))


def _without_hydra(cfg: DictConfig) -> DictConfig:
    """Return a copy of a composed config without its `hydra` node, as the task sees it."""
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.pop("hydra")
    return cfg


def _look_up_references(node: DictConfig | ListConfig) -> None:
    """Look up each reference, such as ${scale.seeds}, so that a sweep does not begin if one leads nowhere.

    Raises:
        InterpolationKeyError: if the config has no such key.
    """
    keys: list[Any] = [*node] if isinstance(node, DictConfig) else [*range(len(node))]
    for key in keys:
        try:
            value = node[key]
        except InterpolationKeyError:
            raise
        except OmegaConfBaseException:  # a value that each job gets, such as one of ${hydra:...}
            continue
        if isinstance(value, DictConfig | ListConfig):
            _look_up_references(value)


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
    error: Exception = job._return_value
    sentence = f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else None
    sentence = sentence or _describe_mistake(error) or _one_sentence(error)
    return f"{' '.join(job.overrides or []) + ': ' if swept else ''}{sentence}"


def _describe_mistake(error: Exception) -> str | None:
    """Return the sentence for overrides that do not compose; None for another exception."""
    if isinstance(error, RecursionError):
        return "A config contains itself: look for a reference (*name, or ${key}) to what it is a part of."
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    cause = _one_sentence(error.__cause__) if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return describe_composition(str(error), cause, _default_config()) or _one_sentence(error)


def _describe_hydra(error: Exception) -> str:
    """Return the sentence for a folder that Hydra cannot make, or for a launcher that it cannot build."""
    if isinstance(error, OSError) and error.filename:
        return f"runs_dir cannot be written: {error.filename}: {error.strerror}."
    if isinstance(error, LookupError | TypeError | AttributeError | AssertionError):
        return describe_python_error(error)
    return _one_sentence(error)


@contextmanager
def mistakes_described() -> Iterator[None]:
    """Raise a UserError, with one sentence, for overrides in the block that do not compose.

    Raises:
        UserError: if they do not.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_describe_mistake(error) or str(error)) from None


def _default_config() -> DictConfig | None:
    """Return the config without any override; None if not even that composes."""
    try:
        with config_folder():
            return compose_config([])
    except (HydraException, OmegaConfBaseException):
        return None


def _one_sentence(error: BaseException) -> str:
    """Return the message of an error without the lines that Hydra adds, followed by the reason behind it."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("object_type=", "reference_type=", "Config search path:", "provider=", "See https", "To append to your")
    text = " ".join(line for line in lines if line and not line.startswith(noise))
    return f"{text}: {_one_sentence(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else text
