"""The commands of the page train the runs again: all of them, and no others."""

import shlex

import pytest

from lmablate.results.report.commands import training_commands

GRID = [f"model/pos={pos} seed={seed}" for pos in ("rope", "nope") for seed in (0, 1)]

# The recorded arguments of runs, and the commands.
RECORDED = [
    ([], []),
    ([""], []),
    (["experiment=x"], ["experiment=x"]),
    (["seed=3"], ["seed=3"]),
    (GRID, ["-m model/pos=rope,nope seed=0,1"]),
    ([f"experiment=x {words}" for words in GRID], ["-m experiment=x model/pos=rope,nope seed=0,1"]),
    (["seed=0 b=1 experiment=x a=1", "seed=1 b=1 experiment=x a=1"], ["-m experiment=x seed=0,1 b=1 a=1"]),
    ([*GRID, *GRID], ["-m model/pos=rope,nope seed=0,1"]),
    (GRID[:3], ["-m model/pos=rope seed=0,1", "model/pos=nope seed=0"]),
    (["seed=10", "seed=2", "seed=0"], ["-m seed=0,2,10"]),
    (["a=1 b=2", "a=2 b=1"], ["a=1 b=2", "a=2 b=1"]),
    (["arch=llama seed=0", "model/pos=sin seed=0"], ["arch=llama seed=0", "model/pos=sin seed=0"]),
    (["~match seed=0", "~match seed=1"], ["-m '~match' seed=0,1"]),
    (["+x=1 seed=0", "+x=2 seed=0"], ["-m +x=1,2 seed=0"]),
    (["'model/tying=\"true\"'", "'model/tying=\"false\"'"], ["-m 'model/tying=\"true\",\"false\"'"]),
    (["optim.betas=[0.9,0.95]", "optim.betas=[0.9,0.99]"], ["-m 'optim.betas=[0.9,0.95],[0.9,0.99]'"]),
    (["name=a=b seed=0", "name=a=c seed=0"], ["-m name=a=b,a=c seed=0"]),
    (["--config-dir /own seed=0", "--config-dir /own seed=1"], ["--config-dir /own -m seed=0,1"]),
    (["--config-dir /own seed=0", "seed=0"], ["--config-dir /own seed=0", "seed=0"]),
    (["--trust pkg --config-dir '/a b' seed=0"], ["--trust pkg --config-dir '/a b' seed=0"]),
    (["--config-name other"], ["--config-name other"]),
    (["'data.train=my text.txt' seed=0"], ["'data.train=my text.txt' seed=0"]),
]  # fmt: skip


@pytest.mark.parametrize(("recorded", "commands"), RECORDED, ids=str)
def test_as_few_commands_as_possible_train_all_runs_and_no_others(recorded, commands):
    found = training_commands([shlex.split(text) for text in recorded])
    assert found == [f"python -m lmablate.train {command}" for command in commands]
