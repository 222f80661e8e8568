"""What a command line means, before anything is launched: its jobs, and the config of each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from lmablate import config
from lmablate.cli import CONF, quote_group_values
from lmablate.data.prepare import prepare
from lmablate.runs import CODE_VERSION, Run, run_id


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides, its config, its group choices."""

    overrides: list[str]
    cfg: DictConfig
    choices: dict[str, str]

    @property
    def seed(self) -> int:
        return self.cfg.seed

    def arm(self, factors: Sequence[str]) -> str:
        """The job in words: the values of the swept keys, without the seed."""
        swept = dict(override.split("=", 1) for override in self.overrides)
        return " ".join(f"{key.removeprefix('model/')}={swept[key].strip(chr(34))}" for key in factors) or "the model"


@dataclass(frozen=True)
class Sweep:
    """All jobs of a command line, in order."""

    jobs: list[Job]
    factors: list[str]
    """The keys that are swept over, except the seed."""

    @property
    def arms(self) -> dict[str, Job]:
        """One job for each arm: the first seed's."""
        arms: dict[str, Job] = {}
        for job in self.jobs:
            arms.setdefault(job.arm(self.factors), job)
        return arms


def plan(arguments: Sequence[str]) -> Sweep:
    """The sweep that `python -m lmablate.train [-m] arguments` would run.

    Raises what Hydra raises where the overrides do not compose.
    """
    arguments = [a for a in quote_group_values([*arguments]) if a not in ("-m", "--multirun")]
    with initialize_config_dir(CONF, version_base="1.3"):
        single = [a for a in arguments if "," not in a and "range(" not in a]
        base = compose("config", overrides=single, return_hydra_config=True)
        params = base.hydra.sweeper.params if base.hydra.mode == RunMode.MULTIRUN else {}
        swept = [f"{key}={value}" for key, value in (params or {}).items()]
        overrides = OverridesParser.create().parse_overrides([*swept, *arguments])
        batches = BasicSweeper.split_arguments(overrides, None)
        rows = [list(row) for row in itertools.chain.from_iterable(batches)]
        composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        jobs = [make_job(row, composed) for row in rows]
    keys = [override.split("=", 1)[0] for override in (rows[0] if rows else [])]
    varying = [key for i, key in enumerate(keys) if len({row[i] for row in rows}) > 1 and key != "seed"]
    return Sweep(jobs, varying)


def make_job(overrides: list[str], composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]]) -> Job:
    """Composes a config; jobs that differ in the seed alone share the work, which is most of a plan's time."""
    rest = tuple(o for o in overrides if not o.startswith("seed="))
    if rest not in composed:
        cfg = compose("config", overrides=list(rest), return_hydra_config=True)
        chosen = {
            k: str(v) for k, v in cfg.hydra.runtime.choices.items() if v is not None and not k.startswith("hydra/")
        }
        with open_dict(cfg):
            del cfg["hydra"]
        composed[rest] = (cfg, chosen)
    cfg, chosen = composed[rest]
    seeds = [int(o.split("=", 1)[1]) for o in overrides if o.startswith("seed=")]
    if seeds and seeds[-1] != cfg.seed:
        cfg = cfg.copy()
        cfg.seed = seeds[-1]
    return Job(overrides, cfg, chosen)


def expected(sweep: Sweep) -> list[tuple[Job, Run]]:
    """The run that each job stands for, whether it is there or not. Prepares the data, whose text is in the id."""
    resolved: dict[str, DictConfig] = {}
    fingerprints: dict[str, str] = {}
    out = []
    for job in sweep.jobs:
        arm = job.arm(sweep.factors)
        if arm not in resolved:
            resolved[arm] = config.resolve(job.cfg)
        cfg = resolved[arm].copy()
        cfg.seed = job.seed
        source = f"{cfg.data} {cfg.tokenizer.vocab_size}"
        if source not in fingerprints:
            prepared = prepare(config.build(cfg.data), cfg.tokenizer, cfg.data_dir, verify=False)
            fingerprints[source] = prepared.fingerprint
        identity = config.identity(cfg, fingerprints[source], CODE_VERSION)
        out.append((job, Run(Path(cfg.runs_dir) / run_id(identity, config.label(cfg)))))
    return out
