"""The jobs that plan, audit and status derive from a command line are those that Hydra launches."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lmablate.sweep.jobs import expand_sweep
from tests.tiny import exit_code

STUB = "tests.config.stub"
BASIC = "hydra/launcher=basic"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [BASIC, "seed=3"],
        ["-m", BASIC, "model/tying=true,false", "seed=0,1"],
        ["model/act=relu", "-m", "model/pos=glob(*,exclude=[alibi,learned,nope])", "seed=range(2)", BASIC],
        ["--multirun", "model/norm=choice(pre,post)", "optim.betas=[0.8,0.9],[0.9,0.95]", "name='a,b'", BASIC],
        ["-m", BASIC, "experiment=norm_location", "hydra.mode=null", "seed=1"],
        ["experiment=weight_tying", "seed=5", BASIC],
        ["seed=${oc.env:SEED}", BASIC],
        ["-m", "seed=${oc.env:SEED},4", BASIC],
        ["-m", "model/tying=choice(true,false)", BASIC],
        ["-m", "model/tying=glob(*)", "seed=sort(2,1)", BASIC],
        ["-m", "model/pos=rope", "seed=choice(1,2)", "name=2024_11_25", BASIC],
        ["-m", "name=1e3,true", "train.compile=false", BASIC],
        ["experiment=norm_location", "hydra.sweeper.params={model/norm:'choice(pre,post)'}", BASIC],
        ["experiment=norm_location", "hydra.sweeper.params={model/norm:'glob([pre,pos*])'}", BASIC],
        ["experiment=positional_encoding", "model/pos=glob([r*,si*])", "seed=range(0,4,2)", BASIC],
        ["-m", "arch=llama,vanilla", BASIC],
        ["experiment=norm_location", "hydra.sweeper.params={model/norm:'post',seed:'7,8'}", BASIC],
    ],
    ids=" ".join,
)
def test_the_plan_is_what_hydra_launches(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "3")
    arguments = [*arguments, f"runs_dir={tmp_path / 'runs'}"]
    assert exit_code(arguments, STUB) == 0
    launched = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    planned = [
        {"overrides": job.overrides, "config": OmegaConf.to_container(job.cfg, resolve=True)}
        for job in expand_sweep(arguments).jobs
    ]
    assert planned == launched


def test_factors_are_the_keys_that_vary_except_the_seed() -> None:
    sweep = expand_sweep(["-m", "model/tying=true,false", "model/act=relu", "optim.lr=1e-3,1e-2", "seed=0,1"])
    assert sweep.factors == ["model/tying", "optim.lr"]
    assert len(sweep.jobs) == 8
    arms = [f"tying={tying} optim.lr={lr}" for tying in ("true", "false") for lr in ("0.001", "0.01")]
    assert list(sweep.arms) == arms
    assert {job.seed for job in sweep.arms.values()} == {0}
    assert sweep.jobs[0].choices["model/tying"] == "true"
