"""Small commands to be judged: scripts for a shell, which start in milliseconds."""

from pathlib import Path

from tests.tiny import exit_code

# What the loss of a seed is: a number that looks random, and is the same each time.
NOISE = "$(( (seed * 7919 + 104729) % 89 ))"


def judge(*arguments: str) -> int:
    """Type a command line, in the current folder. Returns its exit code."""
    return exit_code(list(arguments), "lmablate.judge")


def write_script(folder: Path, body: str, name: str = "train.sh") -> str:
    """Write a script whose first argument is the seed. Returns the command, with {seed}."""
    (folder / name).write_text(f"seed=$1; arm=$2\n{body}\n")
    return f"sh {name} {{seed}}"


def loss_of(base: str = "3") -> str:
    """Return a script's line that prints a loss of about `base`, with a noise of some hundredths."""
    return f'echo "loss {base}.$(printf %04d {NOISE})"'
