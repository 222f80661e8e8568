"""The noise floor: spreads against statsmodels and simulation, and what a deterministic command is."""

import json
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from lmablate.evidence.noise import sd_interval, smallest_effect
from tests.referee.helpers import judge, write_script
from tests.referee.test_compare import LOSS

METRIC = "metric=log:loss (.+)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_smallest_effect_has_power_80_percent(n: int, alpha: float) -> None:
    effect = smallest_effect(2.0, n, alpha)
    power = TTestPower().power(effect / 2.0, n, alpha / 2, alternative="larger")
    assert power == pytest.approx(0.8, abs=0.01)


def test_the_interval_of_a_spread_covers_it() -> None:
    rng = np.random.default_rng(0)
    spreads = rng.normal(0, 3, (4000, 8)).std(axis=1, ddof=1)
    covered = [low <= 3 <= high for low, high in (sd_interval(sd, 8) for sd in spreads)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_a_deterministic_command_is_recognised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_script(here, f"{LOSS}\necho loss $loss")
    assert judge(f"aa={command}", METRIC, "n=4", "repeats=2", "jobs=4", "format=json") == 0
    found = json.loads(capsys.readouterr().out)
    values = [3 + (seed * 7919 + 104729) % 17 / 10000 for seed in range(4)]
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["deterministic"] is True
    assert found["seeds"] == 4
    assert found["smallest_effects"]["4"] == pytest.approx(smallest_effect(2**0.5 * found["sd"], 4, 0.05))
    assert len(list(here.glob("judge/runs/*/result.json"))) == 5
    assert judge(f"aa={command}", METRIC, "n=4", "repeats=2") == 0
    assert "the command is deterministic" in capsys.readouterr().out


def test_a_command_that_is_not_deterministic_is_recognised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_script(here, f"{LOSS}\necho loss $loss$$")
    assert judge(f"aa={command}", METRIC, "n=3", "repeats=3", "jobs=4", "format=json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["deterministic"] is False
    assert found["repeat_sd"] > 0


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("echo loss 3", 1, "All seeds gave the same value: the seed has no effect"),
        ("exit 1", 1, "aa seed 0 failed: its exit code is 1"),
        ("echo loss nan", 2, "3 of 3 seeds diverged"),
    ],
)
def test_what_cannot_be_measured_is_said(
    body: str, code: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(f"aa={write_script(here, body)}", METRIC, "n=3", "jobs=4") == code
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
