"""What every entry point shares: Hydra with our config folder, `GROUP=true` as typed, one sentence per mistake."""

import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lmablate.errors import Diverged, UserError
from lmablate.secrets import refuse_typed_secrets
from lmablate.trust import guard_hydra

CONF = str(Path(__file__).resolve().parent.parent / "conf")
GROUP_OVERRIDE = re.compile(r"^(?P<key>\+?(?!hydra/)[\w/@.-]*/[\w/@.-]*)=(?P<value>[^\[{(].*)$")
INSTEAD = {"+plan=true": ("lmablate.planning", "show"), "+lr_sweep=true": ("lmablate.lr_sweep", "sweep")}
"""Arguments that do something around training, and the function that does it with the other arguments."""
NOT_STRINGS = re.compile(r"^(true|false|on|off|yes|no|null|[+-]?\d[\d_.e+-]*)$", re.IGNORECASE)


def quote_group_values(arguments: list[str]) -> list[str]:
    """`model/tying=true,false` -> `model/tying="true","false"`: Hydra would read booleans and refuse them.

    Only group overrides are touched, those with a `/` in the key that are not Hydra's own.
    """
    return [quote_group_value(argument) for argument in arguments]


def quote_group_value(argument: str) -> str:
    match = GROUP_OVERRIDE.match(argument)
    if not match:
        return argument
    choices = match["value"].split(",")
    if not any(NOT_STRINGS.match(choice) for choice in choices):
        return argument
    return f"{match['key']}=" + ",".join(f'"{c}"' if NOT_STRINGS.match(c) else c for c in choices)


def entry(task: Callable[[DictConfig], Any]) -> None:
    """Runs `task` as a command line program over conf/config.yaml.

    A user's mistake ends it with one sentence and exit code 2, a failed run with 1. In a sweep the runs that
    can be done are done first.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = quote_group_values(sys.argv[1:])
    for word, (module, function) in INSTEAD.items():
        if word in arguments:
            arguments.remove(word)
            return report_mistakes(getattr(importlib.import_module(module), function), arguments)
    sys.argv[1:] = sorted(arguments, key=lambda a: a not in ("-m", "--multirun"))  # argparse wants overrides together
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints and exits on its own
    JobReturn.return_value = property(result_or_raise, JobReturn.return_value.fset)  # pyright: ignore
    guard_hydra()
    try:
        refuse_typed_secrets(arguments)
        hydra.main(version_base="1.3", config_path=CONF, config_name="config")(task)()
    except JobFailed as error:
        cause = error.__cause__ or error
        if not isinstance(cause, UserError | Diverged):
            traceback.print_exception(cause)
        sys.exit(fail(str(error), 2 if isinstance(cause, UserError) else 1))
    except Exception as error:  # no job has run yet: the overrides do not compose, or Hydra's folder cannot be made
        if isinstance(error, OSError) and error.filename:
            error = UserError(f"runs_dir cannot be written: {error.filename}: {error.strerror}.")
        sys.exit(fail(sentence(error), 2))


def report_mistakes(task: Callable[[list[str]], Any], arguments: list[str]) -> None:
    """Runs `task`, which composes configs of its own from overrides; a mistake in them is one sentence, exit 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        refuse_typed_secrets(arguments)
        task(arguments)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        sys.exit(fail(sentence(error), 2))


class JobFailed(Exception):
    """A job of Hydra's ended with the exception that is its cause."""


def result_or_raise(job: JobReturn) -> Any:
    """What a job returned. In place of Hydra's own, which writes a line of its own before it raises."""
    if job.status == JobStatus.COMPLETED:
        return job._return_value
    if isinstance(job._return_value, SystemExit):  # a launcher of ours has told all
        raise job._return_value
    raise JobFailed(describe(job)) from job._return_value


def describe(job: JobReturn) -> str:
    """The sentence of a failed job, with its overrides where it was one of a sweep."""
    swept = job.hydra_cfg is not None and job.hydra_cfg.hydra.mode == RunMode.MULTIRUN
    return f"{' '.join(job.overrides or []) + ': ' if swept else ''}{sentence(job._return_value)}"


class SayFailures(Callback):
    """Says at once when a run of a sweep fails; Hydra would tell of the first alone, when all have ended."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status == JobStatus.FAILED and config.hydra.mode == RunMode.MULTIRUN:
            fail(f"failed, going on with the rest: {describe(job_return)}", 1)


def fail(message: str, code: int) -> int:
    print(f"lmablate: {message}", file=sys.stderr)
    return code


def sentence(error: BaseException) -> str:
    """The message of an error, Hydra's padding removed and the reason behind it added."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("object_type=", "reference_type=", "Config search path:", "provider=", "See https")
    text = " ".join(line for line in lines if line and not line.startswith(noise))
    return f"{text}: {sentence(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else text
