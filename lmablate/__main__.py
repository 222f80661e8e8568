"""All commands: `lmablate COMMAND ...`, which is `python -m lmablate.COMMAND ...`."""

import ast
import importlib.util
import runpy
import sys
from pathlib import Path

from lmablate.config.console import HELP_FLAGS, command_ending
from lmablate.config.suggest import close_to
from lmablate.errors import UserError

PACKAGE = Path(__file__).parent
# The order of the work, for the list.
ORDER = (
    "new", "prepare", "train", "plan", "audit", "lr_sweep", "tune", "decide", "status", "clean", "export", "figures",
    "report", "effects", "judge",
)  # fmt: skip


def commands() -> dict[str, str]:
    """Return what each command does, in the words of its module's docstring, without importing it."""
    found = {}
    for path in sorted(PACKAGE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path != Path(__file__) and any(isinstance(node, ast.If) for node in tree.body[-1:]):
            first = (ast.get_docstring(tree) or "").splitlines()[0]
            found[path.stem] = first.partition(": `")[0].rstrip(".")
    rank = {name: place for place, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[0], len(rank))))


def main() -> None:
    """Run the command that the first argument names, or list them all."""
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    with command_ending():
        if name in HELP_FLAGS:
            width = max(map(len, known))
            print("lmablate COMMAND ..., or python -m lmablate.COMMAND ...; each has a --help of its own:\n")
            print("\n".join(f"  {command:<{width}}  {text}" for command, text in known.items()))
            return
        if name not in known:
            close = close_to(name, known)
            hint = f"did you mean {close}?" if close else f"the commands are {', '.join(known)}."
            raise UserError(f"{name!r} is not a command: {hint}")
    del sys.argv[1]
    spec = importlib.util.find_spec(f"lmablate.{name}")
    assert spec is not None
    sys.argv[0] = str(spec.origin)
    runpy.run_module(f"lmablate.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
