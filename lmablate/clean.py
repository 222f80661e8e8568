"""Remove or hide runs that are of no more use: `python -m lmablate.clean [KEY=VALUE ...]`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError, counted, one_line, print_error
from lmablate.files import disk_errors_named
from lmablate.runs.disposal import HIDDEN, KINDS, dispose, find_useless


@dataclass
class Arguments:
    """Hide or delete runs that are of no more use. Without apply=true it only says which, and how large they are.

    failed      ended with an error, or diverged; the same command would try it again
    died        was killed, and its process or job is gone; the same command would resume it
    superseded  has an older code version than a finished run of the same config and data (CHANGELOG.md)

    A hidden run is moved to .hidden in runs_dir, where no command looks; move its folder back to undo that. A run that
    is being trained or queued is left alone, and so is all in runs_dir that is no run's folder, or a link to one.

      python -m lmablate.clean
          the failed and superseded runs in ./runs, with their sizes
      python -m lmablate.clean which=superseded how=delete apply=true
          delete the superseded ones
    """

    runs_dir: Annotated[Path, "the folder of the runs"] = Path("runs")
    which: Annotated[str, "failed, died, superseded, or several with commas between them"] = "failed,superseded"
    how: Annotated[Literal["hide", "delete"], "hide or delete"] = "hide"
    apply: Annotated[bool, "do it, instead of only saying what would be done"] = False


def clean(args: Arguments) -> None:
    """Print the runs that are of no more use, and, if it is wanted, hide or delete them."""
    kinds = args.which.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        allowed = f"name some of {', '.join(KINDS)}, with commas between them"
        raise UserError(f"which={args.which} is not allowed: {unknown[0]!r} is not known; {allowed}.")
    if not args.runs_dir.is_dir():
        raise UserError(f"runs_dir={args.runs_dir} is not a folder.")
    gone = []
    for useless in find_useless(args.runs_dir, kinds):
        with disk_errors_named("runs_dir", args.runs_dir):
            hindrance = dispose(useless, delete=args.how == "delete") if args.apply else None
        if hindrance is not None:
            print_error(f"{useless.run.id} is left alone: {hindrance}.")
            continue
        print(one_line(f"{useless.kind:<10}  {_megabytes(useless.size):>9}  {useless.run.id}  {useless.reason}"))
        gone.append(useless.size)
    done = "deleted" if args.how == "delete" else f"moved to {args.runs_dir / HIDDEN}"
    total = f"{counted(len(gone), 'run')}, {_megabytes(sum(gone))}"
    print(f"{total}: {done}." if args.apply else f"{total}: apply=true {args.how}s what is listed.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    run_key_value_command("lmablate.clean", Arguments, clean)
