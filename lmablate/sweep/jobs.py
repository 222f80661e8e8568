"""The jobs that a command line stands for, before anything is launched: the overrides and the config of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig

from lmablate.config.build import build, resolve_config
from lmablate.config.compose import compose_job, config_folder
from lmablate.config.hydra_patches import quote_group_values, split_overrides
from lmablate.config.identity import run_identity, run_label
from lmablate.data.prepare import prepare_data
from lmablate.runs.run import CODE_VERSION, Run, run_id


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides, its config, its group choices."""

    overrides: list[str]
    cfg: DictConfig
    choices: dict[str, str]

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.cfg.seed

    def arm(self, factors: Sequence[str]) -> str:
        """Return the name of the job's arm: its values of the swept keys, without the seed."""
        swept = dict(override.split("=", 1) for override in self.overrides)
        return " ".join(f"{key.removeprefix('model/')}={swept[key].strip(chr(34))}" for key in factors) or "the model"


@dataclass(frozen=True)
class Sweep:
    """All jobs of a command line, in order.

    Attributes:
        jobs: one for each run.
        factors: the keys that are swept over, except the seed.
    """

    jobs: list[Job]
    factors: list[str]

    @property
    def arms(self) -> dict[str, Job]:
        """One job for each arm, that of the first seed, by the arm's name."""
        arms: dict[str, Job] = {}
        for job in self.jobs:
            arms.setdefault(job.arm(self.factors), job)
        return arms


def expand_sweep(arguments: Sequence[str]) -> Sweep:
    """Return the sweep that `python -m lmablate.train [-m] arguments` would run.

    Raises:
        HydraException: if the overrides do not compose.
    """
    arguments = [a for a in quote_group_values([*arguments]) if a not in ("-m", "--multirun")]
    with config_folder():
        single = [a for a in arguments if "," not in a and "range(" not in a]
        _, hydra_cfg, _ = compose_job(single)
        params = hydra_cfg.sweeper.params if hydra_cfg.mode == RunMode.MULTIRUN else {}
        swept = [f"{key}={value}" for key, value in (params or {}).items()]
        rows = split_overrides([*swept, *arguments])
        composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        jobs = [_make_job(row, composed) for row in rows]
    keys = [override.split("=", 1)[0] for override in (rows[0] if rows else [])]
    varying = [key for i, key in enumerate(keys) if len({row[i] for row in rows}) > 1 and key != "seed"]
    return Sweep(jobs, varying)


def _make_job(overrides: list[str], composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]]) -> Job:
    """Compose a job's config. Jobs that differ in the seed alone share the work, which is most of a plan's time."""
    rest = tuple(o for o in overrides if not o.startswith("seed="))
    if rest not in composed:
        cfg, _, choices = compose_job(rest)
        composed[rest] = (cfg, choices)
    cfg, choices = composed[rest]
    seeds = [int(o.split("=", 1)[1]) for o in overrides if o.startswith("seed=")]
    if seeds and seeds[-1] != cfg.seed:
        cfg = cfg.copy()
        cfg.seed = seeds[-1]
    return Job(overrides, cfg, choices)


def expected_runs(sweep: Sweep) -> list[tuple[Job, Run]]:
    """Return the run that each job stands for, whether it exists yet or not.

    The data is prepared if it has to be, because the fingerprint of its text is part of a run's id.
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
