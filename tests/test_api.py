"""The interface for notebooks and scripts: its page runs as it stands, and a mistake is one sentence."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmablate
from lmablate.errors import UserError
from tests.tiny import ROOT


def python(script: str, folder: Path) -> str:
    """Run a script in a process of its own, in an empty folder, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    printed = python("\n".join(blocks), tmp_path)
    assert "prenorm-rope-swiglu-tiedhead-scaled-s0-" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "positions.pdf", "runs"]
    for name in lmablate.__all__:
        assert f"lmablate.{name}(" in page


@pytest.mark.parametrize("heavy", ["torch", "hydra", "pandas", "numpy", "matplotlib", "omegaconf"])
def test_importing_the_package_imports_nothing(heavy: str, tmp_path: Path) -> None:
    assert python(f"import sys, lmablate; dir(lmablate); print({heavy!r} in sys.modules)", tmp_path) == "False\n"


def test_no_name_is_that_of_a_module() -> None:
    modules = {path.stem for path in (ROOT / "lmablate").iterdir()}
    assert not {*lmablate.__all__} & modules
    assert {*lmablate.__all__} <= {*dir(lmablate)}
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = lmablate.runn  # pyright: ignore[reportAttributeAccessIssue]


NUMBERS = pd.DataFrame({"method": ["a", "b"] * 4, "seed": [0, 0, 1, 1, 2, 2, 3, 3], "metric": "m", "value": range(8)})
CLAIM: dict[str, Any] = {
    "id": "X1", "text": "t", "reported": "r", "question": "q", "experiment": "e", "metric": "m", "margin": 0.1,
    "all_of": [{"predicate": "lower", "better": {"method": "a"}, "worse": {"method": "b"}}],
}  # fmt: skip

# A call, and what its sentence says.
MISTAKES: list[tuple[Any, str]] = [
    (lambda: lmablate.run("model/pos=rop"), "did you mean rope?"),
    (lambda: lmablate.run("model/pos=rope,nope"), "these overrides describe 2 runs: call run_sweep"),
    (lambda: lmablate.run(seed=[0, 1]), "these overrides describe 2 runs"),
    (lambda: lmablate.run(**{"train.max_step": 1}), "did you mean train.max_steps?"),
    (lambda: lmablate.run(seed=-1), "seed=-1 is not allowed"),
    (lambda: lmablate.run(seed="x"), "seed=x is not allowed: it must be a whole number"),
    (lambda: lmablate.run("rope"), "did you mean model/pos=rope?"),
    (lambda: lmablate.run_sweep("model/pos=rop"), "did you mean rope?"),
    (lambda: lmablate.run_sweep(seed=[-1, -2], **{"hydra/launcher": "basic"}), "seed=-1 is not allowed"),
    (lambda: lmablate.audit_sweep("model/ac=relu"), "did you mean model/act?"),
    (lambda: lmablate.load_runs("none"), "runs_dir=runs is not a folder"),
    (lambda: lmablate.load_facts("none", runs_dir="."), "experiment=none has no run here"),
    (lambda: lmablate.load_runs("a/b", runs_dir="."), "experiment='a/b' is not allowed"),
    (lambda: lmablate.load_model("nothing"), "run=nothing is neither a run's folder nor the beginning"),
    (lambda: lmablate.judge_table(NUMBERS.drop(columns="seed"), [CLAIM]), "the table has no column seed"),
    (lambda: lmablate.judge_table(NUMBERS.drop(columns="value"), [CLAIM]), "the table has no column value"),
    (lambda: lmablate.judge_table(NUMBERS, [CLAIM | {"margin": "x"}]), "claims[0]: claim X1: margin=x is not allowed"),
    (lambda: lmablate.judge_table(NUMBERS, [{}]), "claims[0]: id is missing"),
    (lambda: lmablate.judge_table(NUMBERS, "nowhere"), "There is no folder of claims at nowhere"),
    (lambda: lmablate.draw_runs(NUMBERS.iloc[:0]), "the table has 0 experiments: choose one"),
    (lambda: lmablate.draw_runs(NUMBERS.drop(columns="metric")), "the table has no column metric"),
    (
        lambda: lmablate.draw_runs(pd.concat([NUMBERS.assign(experiment=name) for name in "ab"])),
        "the table has 2 experiments: choose one",
    ),
]


@pytest.mark.parametrize(("call", "words"), MISTAKES)
def test_a_mistake_is_one_sentence(call: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_of_anyones_numbers_is_judged_like_ours() -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"method": method, "seed": seed, "metric": "m", "value": level + generator.normal(0, 0.01)}
        for method, level in (("a", 1.0), ("b", 2.0))
        for seed in range(4)
    ]
    table = pd.DataFrame(rows)
    plain = lmablate.judge_table(table, [CLAIM])
    assert plain["kind"].tolist() == ["SUPPORTED"]
    assert abs(plain["effect"].iloc[0]) == pytest.approx(1, abs=0.05)
    full = table.assign(experiment="e", run=[f"r{i}" for i in range(8)], step=10)
    pd.testing.assert_frame_equal(
        lmablate.judge_table(full, [CLAIM]).drop(columns="runs"), plain.drop(columns="runs"), check_like=True
    )
    swapped = {**CLAIM, "all_of": [{"predicate": "lower", "better": {"method": "b"}, "worse": {"method": "a"}}]}
    assert lmablate.judge_table(table, [swapped])["kind"].tolist() == ["REFUTED"]
    elsewhere = {**CLAIM, "experiment": "other"}
    assert lmablate.judge_table(full, [elsewhere])["kind"].tolist() == ["NOT RUN"]


def test_keywords_are_typed_as_a_user_types_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("lmablate.sweep.jobs.expand_sweep", lambda arguments: seen.append(arguments))
    keys: dict[str, Any] = {"seed": [0, 1], "a": True, "b": None, "c": 1e-3, "d": "x", "e": range(2), "f": (True, "y")}
    with pytest.raises(AttributeError):  # of the sweep, which the stand-in does not return
        lmablate.run("model/pos=rope", **keys)
    assert seen == [["model/pos=rope", "seed=0,1", "a=true", "b=null", "c=0.001", "d=x", "e=0,1", "f=true,y"]]


@pytest.mark.slow
def test_a_run_can_be_interrupted_and_goes_on(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, signal, threading, lmablate
        tiny = {"model.d_model": 16, "model.n_heads": 2, "model.n_layers": 1, "model.context_length": 16,
                "tokenizer.vocab_size": 270, "train.max_steps": 3000, "train.batch_size": 2, "train.eval_every": 1000,
                "train.eval_batches": 1, "tracking": "none"}
        def interrupt():
            import pathlib, time
            while not list(pathlib.Path("runs").glob("*/metrics.jsonl")):
                time.sleep(0.05)
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            lmablate.run(**tiny)
            print("not interrupted")
        except KeyboardInterrupt:
            print("interrupted")
        run = lmablate.run(**tiny)
        print(run.status()["state"], len({row["step"] for row in run.metrics()}) == len(run.metrics()))
    """)
    assert python(script, tmp_path).splitlines()[0] == "interrupted"
