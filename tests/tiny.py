"""The smallest real training run: its corpus, its overrides, and the commands that start it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra

from lmablate.config.hydra_entry import run_hydra_command

ROOT = Path(__file__).resolve().parent.parent

SMALL = [
    "tokenizer.vocab_size=280", "model.d_model=16", "model.n_layers=2", "model.n_heads=2", "model.d_ff=32",
    "model.context_length=16", "train.batch_size=4", "train.max_steps=12", "train.eval_every=4",
    "train.eval_batches=2", "train.checkpoint_every=4", "optim.warmup_steps=3", "tracking=none",
]  # fmt: skip


def corpus(folder: Path) -> list[str]:
    """Overrides that name a small text in `folder`."""
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "other", "cats", "run", "home", "\n"]
    for split, n in (("train", 4000), ("valid", 800)):
        text = " ".join(words[(i * i + i // 7 + len(split)) % len(words)] for i in range(n))
        (folder / f"{split}.txt").write_text(text)
    return ["data=text", f"data.train={folder / 'train.txt'}", f"data.valid={folder / 'valid.txt'}"]


def overrides(folder: Path) -> list[str]:
    """A complete tiny run below `folder`."""
    return [*SMALL, *corpus(folder), f"runs_dir={folder / 'runs'}", f"data_dir={folder / 'data'}"]


def command(arguments: Sequence[str], program: str = "lmablate.train", **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m program arguments` from the repository, as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true", **env}
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300,
    )  # fmt: skip


def exit_code(arguments: Sequence[str], program: str = "lmablate.train") -> int:
    """The same in this process, which spares the start-up; prints go to the test's own capture."""
    task = getattr(importlib.import_module(program), program.rsplit(".", 1)[-1])
    GlobalHydra.instance().clear()
    try:
        with patch.object(sys, "argv", [program, *arguments]):
            run_hydra_command(task)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0
