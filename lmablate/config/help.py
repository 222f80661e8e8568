"""The --help of the commands that compose configs: their arguments, the config groups and the whole config."""

import inspect
import textwrap
from collections.abc import Sequence

from omegaconf import OmegaConf

from lmablate.config.command_line import parse_command_line
from lmablate.config.compose import compose_config, config_folder, group_options

WIDTH = 100


def train_help(usage: str | None, arguments: Sequence[str] = ()) -> str:
    """Return the help of `train`: its usage, the options of every group, and the config with its defaults.

    Args:
        usage: the docstring of the command's module.
        arguments: the command line, whose --config-dir counts.
    """
    flags = [argument for argument in arguments if "=" not in argument and argument not in ("--help", "-h")]
    with config_folder(parse_command_line(flags, shows=True)):
        groups = {group: options for group, options in group_options().items() if group != "claim"}
        cfg = compose_config([])
    width = max(map(len, groups))
    lines = [
        textwrap.fill(
            " ".join(options), WIDTH, initial_indent=f"  {group:<{width}}  ", subsequent_indent=" " * (width + 4)
        )
        for group, options in groups.items()
    ]
    return "\n".join(
        [
            inspect.cleandoc(usage or ""),
            "\nGroups and their options (GROUP=OPTION; commas under -m make a sweep):\n",
            *lines,
            "\nThe config (KEY=VALUE overrides any of it):\n",
            textwrap.indent(OmegaConf.to_yaml(cfg), "  "),
        ]
    )
