"""A small world to run commands in: what they may read, and what nothing but its owner's wish may change."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lmablate.config.schema import CONF
from lmablate.runs.run import all_runs
from tests.tiny import exit_code, write_corpus

# One step of training, and one value of everything that an experiment takes from its scale.
SCALE = """
# @package _global_
tokenizer: {vocab_size: 280}
model: {d_model: 16, n_layers: 1, n_heads: 2, d_ff: 32, context_length: 16}
optim: {lr: 1.0e-3, warmup_steps: 1}
train: {max_steps: 1, batch_size: 4, eval_every: 4, eval_batches: 1, checkpoint_every: 4, device: cpu, threads: 1}
scale:
  large: {d_model: 16, n_layers: 1, n_heads: 2, d_ff: 32}
  large_lr: 1.0e-3
  warmups: "0,1"
  lrs: "1e-3"
  multiple_of: 8
  few_steps: 1
  aa_steps: 1
  seeds: "0,1"
  lr_seeds: "0,1"
  activation_seeds: "0,1"
"""
# Files that a name could reach by a slash, by dots, by a wildcard or by a dash.
VICTIMS = (
    "victim.txt", "work/victim.txt", "work/-x", "work/x.parquet", "home/victim.txt", "work/odd/chart.csv", "beside/a",
    "work/conf.yaml", "work/notes/run.json", "up/victim.txt", "elsewhere/victim.txt",
)  # fmt: skip
Snapshot = dict[str, tuple[object, ...]]


class Surroundings:
    """The folder `root` with a working folder deep in it, a home folder, configs, data, runs and other people's files.

    Attributes:
        work: the folder in which commands are started.
        home: the home folder.
        configs: a user's own folder of configs.
        kept: a folder for runs, whose changes are not looked at, so that a run is trained once.
        run: the folder of a finished run in `work`/runs.
        environment: variables that a command in these surroundings needs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        deep = root / "up" / "up" / "up"
        self.work, self.home, self.configs = deep / "work", deep / "home", deep / "work" / "configs"
        self.kept = root.with_name(root.name + "-kept")
        for name in VICTIMS:
            path = (root if name.startswith(("up", "elsewhere")) else deep) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine\n")
        (self.work / "link").symlink_to(root / "elsewhere")
        (self.work / "dangling").symlink_to(root / "nowhere" / "x")
        for folder in ("empty", "sealed", "a b=(c) 'd'"):
            (self.work / folder).mkdir()
        (self.work / "sealed").chmod(0)
        (self.configs / "scale").mkdir(parents=True)
        (self.configs / "experiment").mkdir()
        (self.configs / "scale" / "tiny.yaml").write_text(SCALE)
        (self.work / "conf" / "claim").mkdir(parents=True)
        shutil.copy(CONF / "claim" / "C07_rope_is_best.yaml", self.work / "conf" / "claim")
        self.data = [argument for argument in write_corpus(self.work) if not argument.startswith("data_dir")]
        train = ["--config-dir", str(self.configs), "scale=tiny", *self.data, "tracking=none", "diagnostics=none"]
        before = os.getcwd()
        os.chdir(self.work)
        try:
            assert exit_code([*train, "seed=0"]) == 0
            assert exit_code(["runs_dir=runs", "out=analysis/exports"], "lmablate.export") == 0
        finally:
            os.chdir(before)
        (run,) = all_runs(self.work / "runs")
        self.run = run.folder
        self.kept.mkdir()
        caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self.environment = {"HOME": str(self.home), "MPLCONFIGDIR": str(self.kept), "XDG_CACHE_HOME": caches}
        self._contents = {
            path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()
        }

    def snapshot(self) -> Snapshot:
        """Return what every file and folder is: a file's size, time of change and number, a link's target."""
        found: Snapshot = {}
        waiting = [str(self.root)]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        found[entry.path] = ("link", os.readlink(entry.path))
                    elif entry.is_dir():
                        found[entry.path] = ("folder",)
                        if os.access(entry.path, os.R_OK):
                            waiting.append(entry.path)
                    else:
                        about = entry.stat(follow_symlinks=False)
                        found[entry.path] = (about.st_size, about.st_mtime_ns, about.st_ino)
        return found

    def changed_since(self, before: Snapshot) -> set[str]:
        """Return the paths that are new, gone or different."""
        now = self.snapshot()
        return {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}

    def restore(self, changed: Iterable[str]) -> None:
        """Undo changes: remove what is new, and write again what was there."""
        for name in sorted(changed):
            path = Path(name)
            if path in self._contents:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(self._contents[path])
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def allows(self, path: str, targets: Iterable[Path]) -> bool:
        """Return whether `path` may change if a command was told to write to `targets`: in one, or on the way to it."""
        here = Path(path)
        return any(here.is_relative_to(target) or target.is_relative_to(here) for target in targets)

    def meant_by(self, typed: str) -> Path:
        """Return the place that a user means by a path, links followed."""
        home = typed.replace("~", str(self.home), 1) if typed == "~" or typed.startswith("~/") else typed
        return Path(os.path.realpath(self.work / home))
