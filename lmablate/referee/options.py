"""The keys of the judge, and what is checked before anything is written."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from lmablate.errors import UserError
from lmablate.files import user_path
from lmablate.referee.ledger import RunReading
from lmablate.referee.metrics import FORMS, parse_metric

_MARKS = {"compare": ("a", "b", "arms"), "noise": ("aa",), "table": ("table",), "session": ("base", "proposal")}
_RULES = {"metric", "better", "alpha", "margin", "out", "format"}
_RUNS = {"first_seed", "jobs", "limit", "launcher", "slurm", "shell", "code", "steps", "diverged", "log_mb"}
# The keys of each mode.
_KEYS = {
    "compare": _RULES | _RUNS | {"a", "b", "arms", "looks", "test", "budget"},
    "noise": _RULES - {"margin"} | _RUNS | {"aa", "n", "repeats"},
    "table": _RULES | {"table", "arm", "seed", "names", "looks", "test", "paired"},
    "session": _RULES | _RUNS - {"first_seed"} | {"base", "proposal", "looks", "test", "budget", "proposals", "seeds"},
}
_LOOKS = (4, 8, 16, 32)
# A resource of a SLURM job.
_RESOURCE = re.compile(r"(?P<key>[a-z_]+)=(?P<value>[\w.:/-]+)")


@dataclass
class Options:
    """The keys of `lmablate.judge`."""

    a: Annotated[str | None, "a command, with {seed}; it is compared with b"] = None
    b: Annotated[str | None, "the other command"] = None
    arms: Annotated[Path | None, "a YAML file of several commands; the first is compared with each other one"] = None
    aa: Annotated[str | None, "one command, whose noise is measured"] = None
    table: Annotated[Path | None, "results that exist: a CSV file, or a folder of TensorBoard or wandb runs"] = None
    base: Annotated[str | None, "the command with which a session of proposals begins"] = None
    proposal: Annotated[str | None, "a command to be judged against the best so far of the session in out"] = None
    metric: Annotated[str | None, f"where a run's number is: {FORMS}; of a table: its column, tag or key"] = None
    better: Annotated[Literal["lower", "higher"], "lower or higher"] = "lower"
    margin: Annotated[float, "the smallest difference of interest; 0 if any is, and then nothing is equivalent"] = 0.0
    alpha: Annotated[float, "the chance of a false verdict"] = 0.05
    looks: Annotated[
        str | None, "seeds per arm at each planned look, the last of which is the budget; null for 4,8,16,32"
    ] = None
    test: Annotated[Literal["auto", "t", "ranks"], "t, or exact ranks (from 8 seeds); auto: ranks in a session"] = (
        "auto"
    )
    first_seed: Annotated[int, "the first seed"] = 0
    jobs: Annotated[int, "runs at the same time"] = 1
    limit: Annotated[float, "minutes after which a run is ended"] = 60.0
    budget: Annotated[float | None, "minutes after which no further look begins; null for no limit"] = None
    launcher: Annotated[Literal["local", "slurm"], "local or slurm"] = "local"
    slurm: Annotated[str | None, "resources of a job, such as partition=gpu,gpus_per_node=1,timeout_min=90"] = None
    shell: Annotated[bool, "let a shell read the commands"] = False
    code: Annotated[str | None, "files and folders that are the code; null for *.py here and below"] = None
    steps: Annotated[str | None, "where the number of steps that a run did is, as for metric"] = None
    diverged: Annotated[str | None, "a regular expression in the log of a failed run that means: it has diverged"] = (
        None
    )
    log_mb: Annotated[float, "megabytes of a run's log that are kept: its first and its last half"] = 16.0
    n: Annotated[int, "seeds whose noise is measured"] = 8
    repeats: Annotated[int, "runs of the first seed, to see whether the command is deterministic"] = 2
    arm: Annotated[str, "the column of a table that has the arm, or the key of wandb's config"] = "arm"
    seed: Annotated[str, "the column or key that has the seed"] = "seed"
    names: Annotated[str, "how a folder of TensorBoard tells arm and seed"] = (
        r"(?P<arm>.+?)[/_-]*s(eed)?[_-]?(?P<seed>\d+)"
    )
    paired: Annotated[Literal["auto", "true", "false"], "whether runs of one seed are pairs"] = "auto"
    proposals: Annotated[int, "how many proposals a session may judge, among which alpha is shared out"] = 100
    seeds: Annotated[Literal["shared", "fresh"], "whether proposals share the runs of the baseline"] = "shared"
    out: Annotated[Path, "the folder of the runs and the ledger"] = Path("judge")
    format: Annotated[Literal["table", "json"], "table or json"] = "table"

    @property
    def mode(self) -> str:
        """What is to be done.

        Raises:
            UserError: if the keys do not say it.
        """
        found = [mode for mode, marks in _MARKS.items() if any(getattr(self, mark) is not None for mark in marks)]
        if len(found) != 1:
            choices = "a=... b=..., or one of arms=, aa=, table=, base=, proposal="
            raise UserError(f"{'Too much' if found else 'Nothing'} is asked for: give {choices}; --help has examples.")
        return found[0]

    @property
    def planned_looks(self) -> tuple[int, ...]:
        """The seeds per arm at each look."""
        if self.looks is None:
            return _LOOKS
        parts = self.looks.split(",")
        if not all(re.fullmatch(r"[0-9]{1,6}", part.strip()) for part in parts):
            raise UserError(f"looks={self.looks} is not allowed: it must be ascending numbers from 2, such as 4,8,16.")
        return tuple(map(int, parts))

    @property
    def exact(self) -> bool:
        """Whether exact ranks decide. At the small level of a session's proposals a t test rests on tails alone."""
        return self.test == "ranks" or (self.test == "auto" and self.mode == "session")

    @property
    def code_paths(self) -> list[Path]:
        """The files and folders that are the code; empty if the user does not say."""
        return [user_path("code", part) for part in self.code.split(",")] if self.code is not None else []

    @property
    def reading(self) -> RunReading:
        """What is read from each run."""
        if self.metric is None:
            raise UserError(f"metric=... is missing: {FORMS}.")
        steps = parse_metric("steps", self.steps) if self.steps else None
        return RunReading(parse_metric("metric", self.metric), steps, _pattern("diverged", self.diverged))

    @property
    def resources(self) -> dict[str, str | int]:
        """The resources of a SLURM job, as submitit names them."""
        found: dict[str, str | int] = {}
        for part in self.slurm.split(",") if self.slurm else ():
            match = _RESOURCE.fullmatch(part)
            if not match:
                raise UserError(f"slurm={self.slurm} is not allowed: it must be KEY=VALUE with commas between them.")
            value = int(match["value"]) if match["value"].isdecimal() else match["value"]
            common = match["key"] in ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")
            found[match["key"] if common else f"slurm_{match['key']}"] = value
        return found

    def check(self) -> None:
        """Refuse values that are not allowed, and keys that are of no use in this mode.

        Raises:
            UserError: if there is one.
        """
        useless = [
            field.name
            for field in dataclasses.fields(self)
            if field.name not in _KEYS[self.mode]
            and getattr(self, field.name) not in (field.default, self._default_out)
        ]
        if useless:
            value = getattr(self, useless[0])
            raise UserError(f"{useless[0]}={value} is of no use here: leave it out, or see --help.")
        for key, least, strict, most in _RANGES:
            value = getattr(self, key)
            if value is None or ((least < value if strict else least <= value) and value <= most):
                continue
            bound = f"above {least:g}" if strict else f"at least {least:g}"
            upper = f" and at most {most:g}" if most < _NO_LIMIT else ""
            raise UserError(f"{key}={value:g} is not allowed: it must be {bound}{upper}.")
        if self.slurm and self.launcher != "slurm":
            raise UserError(f"slurm={self.slurm} is of no use with launcher={self.launcher}: choose launcher=slurm.")
        _ = self.planned_looks, self.code_paths, self.resources, _pattern("diverged", self.diverged)

    @property
    def _default_out(self) -> Path:
        return self.out  # the parser has put it into the project


_NO_LIMIT = 1e15
# (key, least, whether it must be above, most)
_RANGES: Sequence[tuple[str, float, bool, float]] = [
    ("margin", 0, False, _NO_LIMIT),
    ("alpha", 0, True, 0.5),
    ("first_seed", 0, False, 2**63 - 10**6),
    ("jobs", 1, False, 10_000),
    ("limit", 0, True, 1e7),
    ("budget", 0, True, 1e7),
    ("log_mb", 0.001, False, 1000),
    ("n", 2, False, 10_000),
    ("repeats", 1, False, 1000),
    ("proposals", 1, False, 1e6),
]


def _pattern(key: str, text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.MULTILINE) if text is not None else None
    except (re.error, RecursionError) as error:
        raise UserError(f"{key}={text} is not a regular expression: {error}.") from None
