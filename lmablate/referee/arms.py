"""Arms: the commands that are compared, with a place for the seed."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmablate.errors import UserError
from lmablate.files import checked_name, read_yaml

SEED, OUT = "{seed}", "{out}"
# What only a shell understands: its operators, and in a word that is not in single quotes its expansions.
_OPERATORS = "|&;<>()"
_EXPANSION = re.compile(r"\$[A-Za-z_{(]|`")


@dataclass(frozen=True)
class ArmCommand:
    """One of the commands that are compared.

    Attributes:
        name: its name in tables.
        command: the command as it was typed, with {seed} where the seed belongs, and perhaps {out}, its own folder.
        shell: whether a shell reads it.
        code: hash of the code that it runs; empty before `snapshot.freeze` has seen it.
        source: the folder whose entries its runs see.
    """

    name: str
    command: str
    shell: bool = False
    code: str = ""
    source: Path = Path()

    def words(self, seed: int, out: str = OUT) -> list[str]:
        """Return the arguments of the process for one seed.

        Args:
            seed: the seed.
            out: the run's own folder; by default it stays {out}, as a run's identity has it.
        """
        if self.shell:
            return ["/bin/sh", "-c", self.command.replace(SEED, str(seed)).replace(OUT, shlex.quote(out))]
        return [word.replace(SEED, str(seed)).replace(OUT, out) for word in shlex.split(self.command)]


def make_arm(key: str, command: str, shell: bool, name: str = "") -> ArmCommand:
    """Return the arm of a command that a user typed.

    Args:
        key: the argument, for messages.
        command: the command.
        shell: whether a shell is to read it.
        name: the arm's name; by default `key`.

    Raises:
        UserError: if it cannot be a command, or has no place for the seed.
    """
    if not command.strip() or "\0" in command:
        raise UserError(f"{key}={command!r} is not allowed: it must be a command, such as {_EXAMPLE}.")
    if SEED not in command:
        near = re.search(r"\{\s*seed\s*\}|\{seeds?\}|\$\{?seed\}?|%\(?seed\)?", command, re.IGNORECASE)
        hint = f" {near[0]} is not read as a place." if near else ""
        raise UserError(
            f"{key}={command} is not allowed: it has no {{seed}}, so all of its runs would be one and the same, and "
            f"nothing could be learnt from their number.{hint} Say where the seed belongs, as in {_EXAMPLE}."
        )
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"{key}={command} is not a command line: {str(error).lower()}.") from None
    if not shell:
        if foreign := _for_a_shell(command):
            raise UserError(
                f"{key}={command} is not allowed: {foreign} is for a shell, so add shell=true, or put it in quotes."
            )
        program = words[0]
        if not (os.access(program, os.X_OK) if "/" in program else shutil.which(program)):
            hint = ": variables before a command need shell=true" if "=" in program else ""
            raise UserError(f"{key}={command} cannot be run: there is no program {program}{hint}.")
    return ArmCommand(name or key, command, shell)


def _for_a_shell(command: str) -> str | None:
    """Return the first part of a command that is not in quotes and that only a shell understands; None if none is."""
    lexer = shlex.shlex(command, posix=False, punctuation_chars=_OPERATORS)
    lexer.whitespace_split, lexer.commenters = True, ""
    for token in lexer:
        if not {*token} - {*_OPERATORS} or (token[0] != "'" and _EXPANSION.search(token)):
            return token
    return None


_EXAMPLE = "'python train.py --seed {seed}'"


def make_arms(commands: Mapping[str, str], shell: bool) -> list[ArmCommand]:
    """Return the arms of several commands, by their keys, which must differ.

    Raises:
        UserError: if one is none, or two are the same.
    """
    arms = [make_arm(key, command, shell) for key, command in commands.items()]
    for i, arm in enumerate(arms):
        for other in arms[:i]:
            if arm.words(0) == other.words(0):
                raise UserError(
                    f"{other.name} and {arm.name} are the same command: to see how much one command varies, use aa=..."
                )
    return arms


def read_arms(path: Path, shell: bool) -> list[ArmCommand]:
    """Return the arms of a YAML file that maps names to commands; the first is the one that others are compared with.

    Raises:
        UserError: if the file has another form, fewer than two arms, or a command that is none.
    """
    if not path.is_file():
        raise UserError(f"arms={path} is not a file: it must be a YAML file with lines such as pre: {_EXAMPLE}.")
    content = read_yaml(path)
    if not isinstance(content, dict) or len(content) < 2 or not all(isinstance(v, str) for v in content.values()):
        raise UserError(
            f"arms={path} is not allowed: it must map two names or more to commands, as in pre: {_EXAMPLE}."
        )
    return make_arms({checked_name(str(path), name): command for name, command in content.items()}, shell)
