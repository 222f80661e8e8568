"""`python -m lmablate.evaluate` scores a run on its whole validation file."""

import json

import pytest

from lmablate import evaluate
from lmablate.inference.load import LoadedRun
from tests import tiny
from tests.inference.helpers import ARMS, train_arms


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedRun]:
    return train_arms(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_loaded_run_has_the_loss_that_it_ended_with(arm, runs):
    loaded = runs[arm]
    result = evaluate.evaluate(evaluate.Arguments(run=str(loaded.run.folder), batch_size=3))
    rows = [json.loads(line) for line in loaded.run.metrics_path.read_text().splitlines()]
    assert loaded.step == 12
    assert result.nats == pytest.approx(rows[-1]["val/loss"], abs=0.4)  # the run's loss is over eight windows only
    assert result.tokens == loaded.validation_tokens().n_tokens - 1
    assert result.nats < rows[0]["val/loss"]


def test_the_evaluation_prints_its_figures(runs, capsys):
    loaded = runs["neither"]
    arguments = evaluate.Arguments(run=loaded.run.id[:-3], runs_dir=loaded.run.folder.parent)
    result = evaluate.evaluate(arguments)
    printed = capsys.readouterr().out
    assert f"nats per token   {result.nats:.4f}" in printed
    assert f"bits per byte    {result.bits_per_byte:.4f}" in printed
    assert [line.split()[0] for line in printed.splitlines()[-5:]] == ["1", "2-3", "4-7", "8-15", "16"]


def test_a_mistake_ends_in_one_sentence(runs, capsys):
    run = str(runs["neither"].run.folder)
    for arguments, named in (([f"run={run}", "batch_size=0"], "batch_size=0"), (["run=nothing"], "run=nothing")):
        assert tiny.exit_code(arguments, "lmablate.evaluate") == 2
        assert named in capsys.readouterr().err
