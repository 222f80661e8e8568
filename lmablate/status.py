"""Show the state of every run: `python -m lmablate.status [FOLDER | overrides of train] [watch=true]`.

The exit code is 0 only if all runs are done. watch=true shows a live table with loss, speed and time left, until all
are done, or the others have failed or died and nobody runs them; Ctrl-C ends it. Runs are only read, never locked.

  python -m lmablate.status
      every run in ./runs
  python -m lmablate.status experiment=norm_location
      the runs of an experiment, including those that do not exist yet
  python -m lmablate.status experiment=norm_location watch=true
      the same while they train
"""

import sys
from pathlib import Path

from lmablate.config.command_line import lone_word, take_switch
from lmablate.config.hydra_entry import run_override_command
from lmablate.config.project import default_path
from lmablate.config.suggest import describe_word
from lmablate.errors import UserError
from lmablate.files import user_path
from lmablate.results.live_table import METRICS, WatchedRun, count_states, watch_runs
from lmablate.results.run_table import states_table
from lmablate.results.terminal import open_console
from lmablate.runs.metrics import newest_values
from lmablate.runs.run import Run, all_runs
from lmablate.runs.states import collect_states


def status(arguments: list[str]) -> None:
    """Print one line per run, and the number of runs in each state."""
    watch, arguments = take_switch(arguments, "watch")
    rows, runs_dir = _select_runs(arguments)
    console = open_console(160)

    def look() -> list[WatchedRun]:
        states = collect_states(rows, runs_dir)
        return [
            (state, newest_values(run.metrics_path, METRICS)) for state, (run, _, _) in zip(states, rows, strict=True)
        ]

    if watch:
        states = watch_runs(look, console)
    else:
        states = collect_states(rows, runs_dir)
        console.print(states_table(states))
    console.print(count_states(states))
    sys.exit(0 if states and all(state.state == "done" for state in states) else 1)


def _select_runs(arguments: list[str]) -> tuple[list[tuple[Run, str, str]], Path]:
    """Return the runs of a folder or of a sweep, each with its arm and its sorted overrides, and their folder."""
    named = lone_word(arguments)
    if named is not None or not arguments:
        folder = default_path("runs") if named is None else user_path("FOLDER", named)
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder that holds runs. {describe_word(str(folder))}")
        return [(run, "", "") for run in all_runs(folder)], folder
    from lmablate.sweep.jobs import expand_sweep, expected_runs  # here: it imports torch, which a folder does not need

    sweep = expand_sweep(arguments)
    rows = [
        (run, f"{job.arm(sweep.factors)} seed={job.seed}", " ".join(sorted(job.overrides)))
        for job, run in expected_runs(sweep)
    ]
    return rows, Path(sweep.jobs[0].cfg.runs_dir)


if __name__ == "__main__":
    run_override_command(status)
