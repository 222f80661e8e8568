"""What every entry point shares: Hydra with our config folder, `GROUP=true` as typed, one sentence per mistake."""

import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lmablate.errors import UserError

CONF = str(Path(__file__).resolve().parent.parent / "conf")
GROUP_OVERRIDE = re.compile(r"^(?P<key>\+?(?!hydra/)[\w/@.-]*/[\w/@.-]*)=(?P<value>[^\[{(].*)$")
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


def entry(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """`task` as a command line program over conf/config.yaml.

    A user's mistake ends it with one sentence and exit code 2; a failed run with 1.
    """

    @functools.wraps(task)
    def program() -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        sys.argv[1:] = quote_group_values(sys.argv[1:])
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints and exits on its own
        try:
            hydra.main(version_base="1.3", config_path=CONF, config_name="config")(task)()
        except (UserError, HydraException, OmegaConfBaseException) as error:
            sys.exit(fail(sentence(error), 2))
        except OSError as error:
            sys.exit(fail(f"{error.filename or 'a file'}: {error.strerror or error}.", 2))

    return program


def fail(message: str, code: int) -> int:
    print(f"lmablate: {message}", file=sys.stderr)
    return code


def sentence(error: BaseException) -> str:
    """The message of Hydra's or our own error without its padding."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("object_type=", "reference_type=")))
