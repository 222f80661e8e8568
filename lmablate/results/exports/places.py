"""Where the tables of an experiment are, and how they are made anew from its runs."""

from functools import partial
from pathlib import Path

from lmablate.errors import UserError, print_error
from lmablate.files import refuse_foreign
from lmablate.results.exports.jsonl import read_jsonl
from lmablate.results.exports.stored import exported_names, load_exported
from lmablate.results.exports.table import Thinning, is_table_of, table_paths, write_tables

# Where a folder may have its tables: in itself, in a notebook's neighbourhood, in a project.
_PLACES = (".", "exports", "analysis/exports")
# The checkout that lmablate may be installed from.
_CHECKOUT = Path(__file__).resolve().parents[3]


def find_exports(experiment: str, named: Path | None = None) -> Path:
    """Return the folder of an experiment's tables.

    Args:
        experiment: its name.
        named: where they should be. If there is no such folder any more, or if it is None, they are looked for in the
            current folder and all above it, each with its exports/ and analysis/exports/, and last in lmablate's own.

    Raises:
        UserError: if they are not found; the message names the experiments that have tables.
    """
    here = Path.cwd()
    folders = [folder / place for folder in (here, *here.parents, _CHECKOUT) for place in _PLACES]
    if named is not None and named.is_dir():
        folders = [named]
    for folder in folders:
        if (folder / f"{experiment}.parquet").is_file():
            return folder
    known = next((names for folder in folders if (names := exported_names(folder))), [])
    others = f"; there are tables of {', '.join(known)}" if known else ""
    where = named if named is not None and named.is_dir() else f"{here} and the folders above"
    raise UserError(
        f"There is no table of {experiment} in {where}: make one with `python -m lmablate.export "
        f"experiment={experiment}`{others}."
    )


def refresh_tables(experiment: str, runs_dir: Path, exports: Path, overwrite: bool) -> list[str]:
    """Write the tables of an experiment anew from its runs, as `lmablate.export` does.

    Args:
        experiment: its name.
        runs_dir: the folder of the runs.
        exports: the folder of the tables.
        overwrite: whether to replace any file.

    Returns:
        The ids of the runs; none, if `runs_dir` has no run of the experiment, and nothing is written.

    Raises:
        UserError: if a file would be replaced that is not a table of these runs, or describes others as well.
    """
    damage: list[UserError] = []
    recorded = read_jsonl(runs_dir, damage.append) if runs_dir.is_dir() else []
    for error in damage:
        print_error(f"passed over: {error}")
    runs = [run.id for run in recorded if experiment in run.experiments]
    if not runs:
        return []
    are_ours = partial(is_table_of, runs=set(runs))
    refuse_foreign("exports", table_paths(experiment, exports, "plain"), are_ours, "a table of these runs", overwrite)
    if not overwrite and (exports / f"{experiment}.runs.csv").exists():
        stored = set(load_exported(exports, experiment).runs["run"])
        if lost := sorted(stored - set(runs)):
            raise UserError(
                f"exports={exports} has {len(lost)} runs of {experiment} that are not in runs_dir={runs_dir}, such as "
                f"{lost[0]}: name another exports=..., or add overwrite=true."
            )
    write_tables(recorded, experiment, exports, Thinning())
    return runs
