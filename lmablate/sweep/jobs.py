"""The jobs that a command line stands for, before anything is launched: the overrides and the config of each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lmablate.config.build import build, resolve_config
from lmablate.config.command_line import parse_command_line
from lmablate.config.compose import compose_job, config_folder, plain_parameters, plain_sweeps
from lmablate.config.hydra_patches import split_overrides
from lmablate.config.identity import run_identity, run_label
from lmablate.data.prepare import prepare_data
from lmablate.runs.run import CODE_VERSION, Run, run_id

# An override of the seed by a plain number.
SEED = re.compile(r"seed=\d+")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: the overrides that Hydra would launch it with, without those of Hydra's own settings.
        cfg: its config, not yet resolved.
        choices: the chosen option of each group.
    """

    overrides: list[str]
    cfg: DictConfig
    choices: dict[str, str]

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.cfg.seed

    def arm(self, factors: Sequence[str]) -> str:
        """Return the name of the job's arm: its values of the swept keys `factors`, without the seed."""
        levels = self.levels(factors).items()
        return " ".join(f"{key.removeprefix('model/')}={level.strip(chr(34))}" for key, level in levels) or "the model"

    def levels(self, factors: Sequence[str]) -> dict[str, str]:
        """Return the job's values of the swept keys `factors`, as they are typed."""
        swept = {key: value for key, _, value in (override.partition("=") for override in self.overrides)}
        return {key: swept[key] for key in factors}

    def with_values(self, values: Mapping[str, float]) -> "Job":
        """Return the job with other numbers.

        Args:
            values: by dotted key, such as optim.lr.
        """
        cfg = self.cfg.copy()
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return replace(self, cfg=cfg, overrides=[*self.overrides, *(f"{key}={value}" for key, value in values.items())])


@dataclass(frozen=True)
class Sweep:
    """All jobs of a command line, in order.

    Attributes:
        jobs: one per run.
        factors: the keys that are swept over, except the seed.
    """

    jobs: list[Job]
    factors: list[str]

    @property
    def arms(self) -> dict[str, Job]:
        """The first job of each arm, by the arm's name."""
        arms: dict[str, Job] = {}
        for job in self.jobs:
            arms.setdefault(job.arm(self.factors), job)
        return arms


def expand_sweep(arguments: Sequence[str]) -> Sweep:
    """Return the sweep that `python -m lmablate.train [-m] arguments` would run. Commas need no -m here.

    Raises:
        UserError: if an argument cannot be read.
        HydraException: if the overrides do not compose.
    """
    line = parse_command_line(arguments)
    with config_folder(line):
        line = plain_sweeps(line)
        overrides = line.parsed()
        single = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        of_hydra = [str(override.input_line) for override in overrides if override.is_hydra_override()]
        _, hydra_cfg, _ = compose_job(single, line.config_name)
        plain_parameters(hydra_cfg)
        multirun = line.multirun or hydra_cfg.mode == RunMode.MULTIRUN or len(single) < len(overrides)
        params = (hydra_cfg.sweeper.params or {}) if multirun else {}
        swept = [f"{key}={value}" for key, value in params.items()]
        own = [override for override in line.overrides if override not in of_hydra]
        rows = split_overrides([*swept, *own]) if multirun else [own]
        composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        jobs = [_make_job(row, of_hydra, line.config_name, composed) for row in rows]
    keys = [override.split("=", 1)[0] for override in (rows[0] if rows else [])]
    varying = [key for i, key in enumerate(keys) if len({row[i] for row in rows}) > 1 and key != "seed"]
    return Sweep(jobs, varying)


def _make_job(
    overrides: list[str],
    of_hydra: list[str],
    config_name: str,
    composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]],
) -> Job:
    """Compose a job's config.

    Args:
        overrides: those of the job.
        of_hydra: the overrides of Hydra's own settings, which all jobs share.
        config_name: the primary config.
        composed: the configs of earlier jobs. Jobs that differ only in a seed that is a plain number share the work,
            which is most of a plan's time.
    """
    seeds = [override for override in overrides if SEED.fullmatch(override)]
    rest = tuple(override for override in overrides if override not in seeds)
    if rest not in composed:
        cfg, _, choices = compose_job([*of_hydra, *rest], config_name)
        composed[rest] = (cfg, choices)
    cfg, choices = composed[rest]
    if seeds:
        cfg = cfg.copy()
        cfg.seed = int(seeds[-1].partition("=")[2])
    return Job(overrides, cfg, choices)


def expected_runs(sweep: Sweep) -> list[tuple[Job, Run]]:
    """Return the run that each job stands for, whether it exists yet or not.

    The data is prepared if necessary, because the fingerprint of its text is part of a run's id.

    Raises:
        UserError: if a config is refused, or if its data cannot be prepared.
    """
    resolved: dict[str, DictConfig] = {}
    fingerprints: dict[str, str] = {}
    runs = []
    for job in sweep.jobs:
        arm = job.arm(sweep.factors)
        if arm not in resolved:
            resolved[arm] = resolve_config(job.cfg)
        cfg = resolved[arm].copy()
        cfg.seed = job.seed
        source = f"{cfg.data} {cfg.tokenizer.vocab_size}"
        if source not in fingerprints:
            prepared = prepare_data(build(cfg.data), cfg.tokenizer, cfg.data_dir, verify=False)
            fingerprints[source] = prepared.fingerprint
        identity = run_identity(cfg, fingerprints[source], CODE_VERSION)
        runs.append((job, Run(Path(cfg.runs_dir) / run_id(identity, run_label(cfg)))))
    return runs
