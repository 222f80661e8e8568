"""`python -m lmablate.tune`, from end to end: the pilot, its file, and a sweep that uses it."""

from pathlib import Path

import pytest
import yaml

from lmablate.runs.run import all_runs
from tests.tiny import command, exit_code, overrides


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keys=optim.betas"], "keys=optim.betas is not allowed: choose from optim.lr, optim.weight_decay"),
        (["keys=optim.lr,optim.lr"], "keys=optim.lr,optim.lr pilot_seeds=1000,1001: one of them is given twice"),
        (["pilot_seeds=1,1"], "one of them is given twice"),
        (["pilot_seeds=-1"], "pilot_seeds=-1 is not allowed: it must be a whole number from 0 on"),
        (["trials=1"], "trials=1 is not allowed: it must be a whole number from 2 on"),
        (["trials=many"], "trials=many is not allowed"),
        (["overwrite=yes"], "overwrite=yes is not allowed: it must be true or false"),
        (["out=README.md"], "README.md exists already and is not a file of values tuned for these arms"),
        (["seed=1000"], "pilot_seeds: 1000 is a seed of the sweep, too"),
        (["modle.d_model=8"], "modle.d_model is not a key of the config: did you mean model.d_model?"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_mistake_is_one_sentence(arguments: list[str], words: str, tmp_path: Path, capsys) -> None:
    assert exit_code([*arguments, f"runs_dir={tmp_path / 'runs'}"], "lmablate.tune") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_pilot_gives_each_arm_values_of_its_own_and_a_sweep_uses_them(tmp_path: Path, capsys) -> None:
    out = tmp_path / "conf" / "tuned" / "pair.yaml"
    own = ["-m", "hydra/launcher=basic", "model/norm=pre,post", *overrides(tmp_path)]
    pilot = [*own, "trials=2", "pilot_seeds=7", f"out={out}"]
    done = command(pilot, "lmablate.tune")
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(out.read_text())
    assert [(arm["arm"], len(arm["trials"])) for arm in found["arms"]] == [("norm=pre", 2), ("norm=post", 2)]
    assert {run.facts()["identity"]["config"]["seed"] for run in all_runs(tmp_path / "runs")} == {7}
    use = [*own, "seed=1", "tuned=pair", f"--config-dir={out.parent.parent}"]
    assert exit_code(use, "lmablate.audit") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the pilot did not try all sides of the best values of norm=pre" in text
    assert "share optim.lr" not in text
    trained = command(use)
    assert trained.returncode == 0, trained.stderr
    configs = [run.facts()["identity"]["config"] for run in all_runs(tmp_path / "runs")]
    rates = {c["model"]["norm"]["_target_"]: c["optim"]["lr"] for c in configs if c["seed"] == 1}
    assert rates == {arm["when"]["model.norm._target_"]: arm["values"]["optim.lr"] for arm in found["arms"]}
