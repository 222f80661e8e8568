"""The learning-rate sweep: how a grid is widened, what is launched, and one sweep of tiny runs from end to end."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.sweep.jobs import Job, Sweep
from lmablate.sweep.lr_search import command_line, next_rate, one_arm, refuse_own_rates, typed
from tests.tiny import command, overrides

INF = math.inf


@pytest.mark.parametrize(
    ("losses", "next_rate"),
    [
        ({1e-3: 3.0, 3e-3: 2.0, 1e-2: 2.5}, None),
        ({1e-3: 2.0, 3e-3: 2.1, 1e-2: 2.5}, 3e-4),
        ({1e-3: 2.5, 3e-3: 2.1, 1e-2: 2.0}, 3e-2),
        ({3e-4: 1.9, 1e-3: 2.0, 3e-3: 2.1}, 1e-4),
        ({1e-3: 2.5, 3e-3: 2.1, 1e-2: INF}, None),
        ({1e-3: 2.0, 3e-3: INF, 1e-2: INF}, 3e-4),
        ({1e-3: 2.0, 2e-3: 1.0}, 4e-3),
        ({3e-3: 2.0}, 1e-3),
    ],
)
def test_the_grid_goes_on_beyond_the_edge_that_is_best(losses: dict[float, float], next_rate: float | None) -> None:
    assert next_rate(losses) == next_rate


@given(st.floats(-6, 2), st.sampled_from([[-3.0, -2.5, -2.0], [-3.0, -2.0], [-4.0, -3.5, -3.0, -2.5]]))
def test_widening_ends_with_the_optimum_inside(optimum: float, grid: list[float]) -> None:
    """On any loss with one valley, log10 of the rates in `grid`."""
    losses = {10**x: (x - optimum) ** 2 for x in grid}
    for _ in range(40):
        if (rate := next_rate(losses)) is None:
            break
        assert rate < min(losses) or rate > max(losses)
        losses[rate] = (math.log10(rate) - optimum) ** 2
    best = min(losses, key=lambda rate: losses[rate])
    assert min(losses) < best < max(losses)


def test_a_sweep_whose_runs_all_diverge_says_so() -> None:
    with pytest.raises(UserError, match=r"Every run diverged, from optim.lr=1 to 3"):
        next_rate({1.0: INF, 3.0: INF})


def job(*of_job: str) -> Job:
    return Job(list(of_job), OmegaConf.create({"name": "norms", "seed": 0, "optim": {"lr": 0.1}}), {})


BASE = Sweep([job("model/norm=pre", 'model/tying="true"', "seed=0")], ["model/norm", "model/tying"])


def test_one_arm_replaces_what_the_experiment_sweeps_over() -> None:
    line = one_arm(["experiment=norms", "train.max_steps=5"], BASE, "norm=pre tying=true", 3e-4)
    params = """hydra.sweeper.params={model/norm:'pre',model/tying:'"true"'}"""
    assert line == ["-m", "experiment=norms", "train.max_steps=5", params, "name=norms_lr", "optim.lr=0.0003"]


def test_one_arm_replaces_what_the_command_line_sweeps_over() -> None:
    line = one_arm(["-m", "model/norm=pre,post", 'model/tying="true","false"'], BASE, "norm=pre tying=true", 3e-4)
    assert line == ["-m", "model/norm=pre", 'model/tying="true"', "name=norms_lr", "optim.lr=0.0003"]


def test_the_first_round_leaves_the_sweep_as_it_is() -> None:
    line = command_line(["experiment=norms"], BASE, [1e-3, 3e-3], {})
    assert line == ["-m", "experiment=norms", "name=norms_lr", "optim.lr=0.001,0.003"]


@pytest.mark.parametrize("arguments", [["optim.lr=1e-3"], ["experiment=x", "optim.lr=1e-3,1e-2"]])
def test_a_learning_rate_of_ones_own_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"optim\.lr is already chosen"):
        refuse_own_rates(arguments, BASE)


@given(st.floats(1e-9, 10))
def test_a_rate_is_the_same_number_as_typed(rate: float) -> None:
    assert float(typed(float(typed(rate)))) == float(typed(rate))


@pytest.mark.slow
def test_a_tiny_sweep_widens_until_the_best_lies_inside_and_is_cheap_to_repeat(tmp_path: Path) -> None:
    sweep = [*overrides(tmp_path), "hydra/launcher=basic", "+lr_sweep=true", "scale.lrs='1e-6,1.0,30.0'"]
    planned = command([*sweep, "+plan=true"])
    assert planned.returncode == 0, planned.stderr
    assert "3 runs, 0 done, 3 to do" in " ".join(planned.stdout.split())
    assert not list((tmp_path / "runs").glob("*/status.json")), "a plan trains nothing"
    done = command(sweep)
    assert done.returncode == 0, done.stderr
    best = re.search(r"^the model: best optim.lr=(\S+), val/loss (\S+)$", done.stdout, re.MULTILINE)
    assert best, done.stdout
    rates = {
        float(OmegaConf.load(path).optim.lr): path.stat().st_mtime_ns  # pyright: ignore
        for path in (tmp_path / "runs").glob("*/config.yaml")
    }
    assert min(rates) < float(best[1]) < max(rates)
    assert all((path / "experiments" / "adhoc_lr").exists() for path in (tmp_path / "runs").glob("*-s0-*"))
    again = command(sweep)
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
