"""Keys and passwords stay where they are: in the environment. A config is written to files, logs and trackers."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmablate.errors import UserError

SECRET_NAME = re.compile(r"(api_?key|access_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
SHORTEST_SECRET = 8
"""Characters. What is shorter is no key, and could be part of any value."""


def refuse_secrets(values: Mapping[str, Any]) -> None:
    """Raises UserError where a key of `values` is called like a secret, or a value has one of the environment in it.

    Configs are written to run folders, shown in logs and sent to trackers.
    """
    secrets = [
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
    ]
    for key, value in values.items():
        if SECRET_NAME.search(key) or any(secret in str(value) for secret in secrets):
            raise UserError(
                f"{key} holds a secret, which would be written to files: leave it in the environment "
                "(WANDB_API_KEY, HF_TOKEN), or say it once to `wandb login`."
            )


def refuse_typed_secrets(arguments: Sequence[str]) -> None:
    """`refuse_secrets` of a command line."""
    refuse_secrets({key: value for key, _, value in (argument.partition("=") for argument in arguments)})


def flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of a plain container."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from flat(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for child in node:
            yield from flat(child, key)
    else:
        yield key, node
