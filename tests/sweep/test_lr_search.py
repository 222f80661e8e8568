"""The search for learning rates: how a grid is extended, and the command lines that it launches."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lmablate.errors import UserError
from lmablate.runs.run import Run
from lmablate.sweep import lr_search
from lmablate.sweep.jobs import Job, Sweep
from lmablate.sweep.lr_search import first_round, next_rate, one_arm, search_learning_rates

INF = math.inf


@pytest.mark.parametrize(
    ("losses", "rate"),
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
def test_the_grid_is_extended_beyond_the_edge_that_is_best(losses: dict[float, float], rate: float | None) -> None:
    assert next_rate(losses) == rate


@given(st.floats(-6, 2), st.sampled_from([[-3.0, -2.5, -2.0], [-3.0, -2.0], [-4.0, -3.5, -3.0, -2.5]]))
def test_extensions_end_with_the_optimum_inside(optimum: float, grid: list[float]) -> None:
    """The loss has one valley; `optimum` and `grid` are logarithms of rates to base 10."""
    losses = {10**x: (x - optimum) ** 2 for x in grid}
    for _ in range(40):
        if (rate := next_rate(losses)) is None:
            break
        assert rate < min(losses) or rate > max(losses)
        losses[rate] = (math.log10(rate) - optimum) ** 2
    best = min(losses, key=lambda rate: losses[rate])
    assert min(losses) < best < max(losses)


def test_a_search_in_which_every_run_diverges_says_so() -> None:
    with pytest.raises(UserError, match=r"Every run of an arm diverged, from optim.lr=1 to 3"):
        next_rate({1.0: INF, 3.0: INF})


CFG = OmegaConf.create({"name": "norms", "seed": 0, "optim": {"lr": 0.1}, "scale": {"lrs": "3e-3,1e-3"}})
BASE = Sweep([Job(["model/norm=pre", 'model/tying="true"', "seed=0"], CFG, {})], ["model/norm", "model/tying"])


def test_one_arm_replaces_what_the_experiment_sweeps_over() -> None:
    line = one_arm(["experiment=norms", "train.max_steps=5"], BASE, "norm=pre tying=true", 3e-4)
    params = """hydra.sweeper.params={model/norm:'pre',model/tying:'"true"'}"""
    assert line == ["-m", "experiment=norms", "train.max_steps=5", params, "name=norms_lr", "optim.lr=0.0003"]


def test_one_arm_replaces_what_the_command_line_sweeps_over() -> None:
    line = one_arm(["-m", "model/norm=pre,post", 'model/tying="true","false"'], BASE, "norm=pre tying=true", 3e-4)
    assert line == ["-m", "model/norm=pre", 'model/tying="true"', "name=norms_lr", "optim.lr=0.0003"]


def test_the_first_round_adds_the_grid_and_leaves_the_sweep_as_it_is() -> None:
    line = first_round(["experiment=norms"], BASE)
    assert line == ["-m", "experiment=norms", "name=norms_lr", "optim.lr=0.001,0.003"]


@pytest.mark.parametrize(
    "arguments", [["optim.lr=1e-3"], ["-m", "optim.lr=1e-3,1e-2"], ["experiment=norm_location_lr"]], ids=" ".join
)
def test_a_learning_rate_that_is_already_chosen_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"optim\.lr is already chosen"):
        search_learning_rates(arguments)


def test_a_scale_without_a_grid_is_refused() -> None:
    with pytest.raises(UserError, match=r"scale\.lrs is not set"):
        search_learning_rates(["scale.lrs=null"])


@given(st.floats(1e-9, 10))
def test_a_rate_stays_the_same_number_when_it_is_typed(rate: float) -> None:
    def typed(rate: float) -> float:
        return float(one_arm([], BASE, "norm=pre tying=true", rate)[-1].removeprefix("optim.lr="))

    assert typed(typed(rate)) == typed(rate)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({1e-3: [3.0, 3.2], 1e-2: [2.0, INF]}, {1e-3: 3.1, 1e-2: 4.5}),
        ({1e-3: [3.0, 9.0], 1e-2: [INF, INF]}, {1e-3: 5.0, 1e-2: INF}),
    ],
)
def test_a_seed_that_diverged_counts_as_one_that_learnt_nothing(tmp_path, monkeypatch, losses, expected) -> None:
    """The loss at initialisation is 11, but ln V is 7: no loss counts as more than 7, unless all seeds diverged."""
    found = []
    for rate, of_seeds in losses.items():
        for seed, loss in enumerate(of_seeds):
            run = Run(tmp_path / f"{rate}-{seed}")
            run.folder.mkdir()
            failed = {"state": "failed", "error": "diverged at step 3"}
            status = failed if loss == INF else {"state": "done", "val/loss": loss}
            (run.folder / "status.json").write_text(json.dumps(status))
            row = {"step": 0, "init/loss": 11.0, "init/loss_over_uniform": 4.0}
            run.metrics_path.write_text(json.dumps(row) + "\n")
            found.append((Job([], OmegaConf.create({"optim": {"lr": rate}}), {}), run))
    monkeypatch.setattr(lr_search, "expected_runs", lambda sweep: found)
    assert lr_search.final_losses_by_rate(Sweep([], []), "a", []) == pytest.approx(expected)
