"""lmablate from Python: train, load, audit, judge and draw, in a notebook or a script.

All functions are attributes of the package, as in `lmablate.run("model/pos=rope", seed=0)`. Overrides are those of
`python -m lmablate.train`, as text or as keywords. A mistake raises UserError, whose message is one sentence. Your own
classes are built if LMABLATE_TRUST names their package, and a project is found as by the commands.

Nothing here imports torch or Hydra before it needs them.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmablate.config.project import claims_folder, default_path
from lmablate.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lmablate.inference.load import LoadedRun
    from lmablate.runs.run import Run
    from lmablate.sweep.jobs import Sweep

Source = Literal["metrics", "wandb", "csv"]
# The columns of a table of measurements that are not factors.
MEASUREMENT = ("experiment", "run", "seed", "step", "metric", "value")


@dataclass(frozen=True)
class Audit:
    """What differs between the arms of a sweep before anything is trained.

    Attributes:
        arms: one row per arm, measured at step 0: parameters, flops_per_token (training), init_loss and uniform (ln V)
            in nats, logit_std, grad_norm before clipping, position_ratio, hours (estimated, on this machine), memory
            (estimated peak, in bytes).
        warnings: one sentence for each confound.
    """

    arms: "pd.DataFrame"
    warnings: list[str]


def run(*overrides: str, **keys: Any) -> "Run":
    """Train one run, unless it is done already, and return it.

    Args:
        overrides: overrides of `python -m lmablate.train`, such as "model/pos=rope".
        keys: overrides as keywords: `seed=0`, `**{"train.max_steps": 100}`.

    Returns:
        The run, with `id`, `folder`, `status()` and `metrics()`.

    Raises:
        UserError: if an override is refused, or if the overrides describe more than one run.
        KeyboardInterrupt: after an interruption, when a checkpoint is saved; the same call resumes the run.
    """
    import torch

    from lmablate.runs.stop_signal import Preempted
    from lmablate.sweep.jobs import expected_runs
    from lmablate.training.session import train_run

    sweep = _expand(overrides, keys)
    if len(sweep.jobs) != 1:
        raise UserError(f"these overrides describe {len(sweep.jobs)} runs: call run_sweep for several.")
    threads = torch.get_num_threads()
    try:
        train_run(sweep.jobs[0].cfg, sweep.jobs[0].choices, sweep.jobs[0].overrides)
    except Preempted:
        raise KeyboardInterrupt from None
    finally:
        torch.set_num_threads(threads)
    return expected_runs(sweep)[0][1]


def run_sweep(*overrides: str, **keys: Any) -> "list[Run]":
    """Train the runs of a sweep that are not done, as `python -m lmablate.train -m` does, and return all of them.

    The sweep runs in processes of its own, on the launcher that the overrides choose; what it says is printed.

    Args:
        overrides: overrides, such as "model/pos=rope,nope" or "experiment=mine".
        keys: overrides as keywords; a list is swept over: `seed=[0, 1]`.

    Raises:
        UserError: if an override is refused, or if a run failed.
    """
    from lmablate.sweep.jobs import expected_runs

    sweep = _expand(overrides, keys)
    arguments = [*overrides, *_typed(keys)]
    command = [sys.executable, "-u", "-m", "lmablate.train", "-m", *arguments]
    last = ""
    search_path = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | {"PYTHONPATH": search_path},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise UserError(last.removeprefix("lmablate: ") or f"the sweep ended with exit code {process.returncode}.")
    return [each for _, each in expected_runs(sweep)]


def audit_sweep(*overrides: str, **keys: Any) -> Audit:
    """Build and measure each arm of a sweep at step 0, and describe confounds, as `python -m lmablate.audit` does.

    Args:
        overrides: overrides of the sweep.
        keys: overrides as keywords.

    Raises:
        UserError: if an override is refused.
    """
    import pandas as pd
    import torch

    from lmablate.sweep.arm_audit import audit_arm, sweep_confounds

    threads = torch.get_num_threads()
    try:
        sweep = _expand(overrides, keys)
        arms = [audit_arm(name, job) for name, job in sweep.arms.items()]
    finally:
        torch.set_num_threads(threads)
    columns = (
        "parameters", "flops_per_token", "init_loss", "uniform", "logit_std", "grad_norm", "position_ratio", "hours",
        "memory",
    )  # fmt: skip
    rows = [{column: getattr(arm, column) for column in columns} for arm in arms]
    table = pd.DataFrame(rows, index=pd.Index([arm.name for arm in arms], name="arm"))
    return Audit(table, list(sweep_confounds(arms, sweep)))


def load_runs(
    experiment: str,
    runs_dir: str | Path | None = None,
    source: Source = "metrics",
    folder: str | Path | None = None,
) -> "pd.DataFrame":
    """Return the measurements of an experiment as a tidy table: one row per run, metric and step.

    Columns: experiment; run (its id); seed; one per factor that varies in the experiment, such as model/pos or
    optim.lr; step (number of updates before the measurement); metric (such as val/loss, in nats per token); value.

    Args:
        experiment: its name, the key `name` of its config.
        runs_dir: the folder of the runs; by default that of the project, or ./runs.
        source: "metrics" (the runs' own files), "wandb" (what wandb wrote offline) or "csv" (saved from wandb's page).
        folder: where the files of "wandb" or "csv" are; by default `runs_dir`.

    Raises:
        UserError: if no run belongs to the experiment, or a file is damaged.
    """
    return _read(experiment, runs_dir, source, folder).table


def load_facts(
    experiment: str,
    runs_dir: str | Path | None = None,
    source: Source = "metrics",
    folder: str | Path | None = None,
) -> "pd.DataFrame":
    """Return the runs of an experiment as a table: one row per run; the arguments are those of `load_runs`.

    Columns: run, experiment, seed, one per factor, state, data_fingerprint, code_version, tokens (of training),
    parameters, flops_per_token (training), max_steps, warmup_steps, error, val/loss (the last, in nats per token).

    Raises:
        UserError: as `load_runs`.
    """
    return _read(experiment, runs_dir, source, folder).runs


def load_model(name: str | Path, runs_dir: str | Path | None = None, device: str = "cpu") -> "LoadedRun":
    """Return a run with its model, in evaluation mode, and its tokenizer.

    Args:
        name: a run's folder, its id, or the beginning of its id.
        runs_dir: the folder of the runs; by default that of the project, or ./runs.
        device: "auto", "cpu" or "cuda".

    Returns:
        An object with `model`, `tokenizer`, `cfg`, `step` and `run`.

    Raises:
        UserError: if there is no such run, or none of its checkpoints is good.
    """
    from lmablate.inference.load import load_run

    return load_run(name, default_path("runs") if runs_dir is None else runs_dir, device)


def judge_table(
    table: "pd.DataFrame",
    claims: str | Path | Sequence[Mapping[str, Any]] | None = None,
    facts: "pd.DataFrame | None" = None,
) -> "pd.DataFrame":
    """Judge claims by a table of anyone's numbers, and return one row per claim: verdict, effect, interval, p-value.

    Args:
        table: the columns seed, metric, value, and one per factor by which the claims select arms; `step`, if there is
            more than one value per run and metric; `run`, if a seed has more than one run in an arm; `experiment`, if
            the claims are about several. `load_runs` returns such a table.
        claims: a folder of yaml files, one such file, or a list of mappings with the same keys; by default the claims
            of the project.
        facts: what `load_facts` returns. Then runs on other data, of other versions or of unequal budgets are refused.

    Raises:
        UserError: if a column is missing, or a claim is not valid.
    """
    from lmablate.evidence import Measured, RunTable, judge_claims
    from lmablate.results.exports import Metrics
    from lmablate.results.frames import select_columns
    from lmablate.results.report.verdict_table import verdict_rows

    parsed = _claims(claims)
    needed = dict.fromkeys(predicate.experiment for claim in parsed for predicate in claim.all_of)
    if "experiment" not in table.columns:
        parts = {name: _completed(table.assign(experiment=name)) for name in needed}
    else:
        parts = {str(name): _completed(part) for name, part in table.groupby("experiment", sort=False)}
    experiments = {}
    for name, part in parts.items():
        metrics = Metrics.from_frame(select_columns(part, ["run", "step", "metric", "value"]))
        experiments[name] = Measured(_arms(part), metrics.names, metrics.rows)
    rows = [_facts(part) for part in parts.values()] if facts is None else [facts]
    return verdict_rows(judge_claims(parsed, RunTable(experiments, _joined(rows))))


def draw_runs(table: "pd.DataFrame", facts: "pd.DataFrame | None" = None) -> "dict[str, Figure]":
    """Draw the standard figures of an experiment, and return them by name; each may be styled further.

    Args:
        table: what `load_runs` returns, or a table with such columns, of one experiment.
        facts: what `load_facts` returns; with it the figures mark the end of warm-up.

    Raises:
        UserError: if a column is missing, or there is nothing to draw.
    """
    from lmablate.results.exports import Exported, Metrics
    from lmablate.results.plots import gallery

    table = table if "experiment" in table.columns else table.assign(experiment="runs")
    names = table["experiment"].unique()
    if len(names) != 1:
        raise UserError(f"the table has {len(names)} experiments: choose one.")
    table = _completed(table)
    runs = _facts(table) if facts is None else facts
    figures = dict(gallery(Exported(str(names[0]), Metrics.from_frame(table), runs)))
    if not figures:
        raise UserError("the table has nothing to draw: it needs train/loss, val/loss, grad_norm, or metrics by layer.")
    return figures


def _expand(overrides: Sequence[str], keys: Mapping[str, Any]) -> "Sweep":
    from lmablate.config.hydra_entry import mistakes_described
    from lmablate.sweep.jobs import expand_sweep

    with mistakes_described():
        return expand_sweep([*overrides, *_typed(keys)])


def _typed(keys: Mapping[str, Any]) -> list[str]:
    """Return keywords as overrides, as they would be typed."""
    return [f"{key}={_as_typed(value)}" for key, value in keys.items()]


def _as_typed(value: Any) -> str:
    if isinstance(value, list | tuple | range):
        return ",".join(_as_typed(each) for each in value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _read(experiment: str, runs_dir: str | Path | None, source: Source, folder: str | Path | None) -> Any:
    from lmablate.results.exports import read_experiment

    runs = default_path("runs") if runs_dir is None else Path(runs_dir).expanduser()
    if not runs.is_dir() and folder is None:
        raise UserError(f"runs_dir={runs} is not a folder.")
    return read_experiment(experiment, source, runs, None if folder is None else Path(folder).expanduser())


def _claims(claims: str | Path | Sequence[Mapping[str, Any]] | None) -> Any:
    from lmablate.evidence import load_claim, load_claims, parse_claim

    if claims is None:
        return load_claims(claims_folder())
    if isinstance(claims, str | Path):
        path = Path(claims).expanduser()
        return [load_claim(path)] if path.is_file() else load_claims(path)
    return [parse_claim(claim, f"claims[{i}]") for i, claim in enumerate(claims)]


def _completed(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table of measurements with the columns that may be left out: run and step."""
    for column in ("seed", "metric", "value"):
        if column not in table.columns:
            raise UserError(f"the table has no column {column}: it needs seed, metric, value, and one per factor.")
    if "step" not in table.columns:
        table = table.assign(step=0)
    if "run" not in table.columns:
        factors = [column for column in table.columns if column not in MEASUREMENT]
        names = table[[*factors, "seed"]].astype(str).agg(" ".join, axis=1)
        table = table.assign(run=names)
    return table


def _arms(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row per run: run, seed and factors."""
    from lmablate.results.frames import select_columns

    factors = [column for column in table.columns if column not in MEASUREMENT]
    return select_columns(table, ["run", "seed", *factors]).drop_duplicates("run").reset_index(drop=True)


def _facts(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table of runs for measurements of which nothing else is known: all count as finished and comparable."""
    losses = table.loc[table["metric"] == "val/loss"].sort_values("step").groupby("run")["value"].last()
    runs = _arms(table)
    known = {"experiment": table["experiment"].iloc[0], "state": "done", "data_fingerprint": "", "error": ""}
    numbers = dict.fromkeys(
        ("code_version", "tokens", "parameters", "flops_per_token", "max_steps", "warmup_steps"), float("nan")
    )
    return runs.assign(**known, **numbers, **{"val/loss": runs["run"].map(losses)})


def _joined(rows: "list[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(rows, ignore_index=True)
