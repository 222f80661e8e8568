"""What an experiment is about, in the words of whoever wrote its yaml."""

import re

from lmablate.config.project import find_yaml
from lmablate.files import read_lines


def describe_experiment(name: str) -> str:
    """Return the comment at the head of the experiment's yaml, without its number and full stop; empty without one."""
    path = find_yaml(f"experiment/{name}.yaml")
    lines = read_lines(path) if path else []
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#") and "@package" not in line]
    text = re.sub(r"^\d+:\s*", "", " ".join(comments))
    return text[:1].upper() + text[1:].removesuffix(".")
