"""Keep keys and passwords in the environment: a config is written to run folders, logs and trackers."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmablate.errors import UserError

SECRET_NAME = re.compile(r"(api_?key|access_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
# Characters. A shorter value is not a key, and could be part of any other value.
SHORTEST_SECRET = 8


def refuse_secrets(values: Mapping[str, Any]) -> None:
    """Refuse a config that holds a secret.

    Args:
        values: the config's values by dotted key.

    Raises:
        UserError: if a key is named like a secret, or if a value contains a secret of the environment. The message
            does not repeat the value.
    """
    secrets = [
        value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
    ]
    for key, value in values.items():
        if SECRET_NAME.search(key) or any(secret in str(value) for secret in secrets):
            raise UserError(
                f"{key} holds a secret, which would be written to files: leave it in the environment "
                "(WANDB_API_KEY, HF_TOKEN), or give it once to `wandb login`."
            )


def refuse_typed_secrets(arguments: Sequence[str]) -> None:
    """Refuse a command line of KEY=VALUE arguments that holds a secret.

    Raises:
        UserError: as `refuse_secrets` does.
    """
    refuse_secrets({key: value for key, _, value in (argument.partition("=") for argument in arguments)})


def config_leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of a plain container; the items of a list share the list's key.

    Args:
        node: nested dicts and lists.
        key: the dotted key of `node` itself; empty for the root.
    """
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from config_leaves(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for child in node:
            yield from config_leaves(child, key)
    else:
        yield key, node
