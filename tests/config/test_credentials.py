"""No key gets into a file, a log or a mirror, whether it is typed or in the environment."""

from pathlib import Path

import pytest

from lmablate.config.credentials import refuse_secrets, refuse_typed_secrets
from lmablate.errors import UserError
from tests.faults.harness import CONF, TINY
from tests.faults.test_strangers import command_line

CANARY = "5ec2e7" * 6 + "cafe"


@pytest.mark.parametrize(
    "key",
    [
        "tracking.api_key",
        "+tracking.apiKey",
        "++x.HF_TOKEN",
        "data.password",
        "hydra.job.env_set.WANDB_API_KEY",
        "secret",
    ],
)
def test_what_is_called_like_a_secret_is_refused_without_its_value(key):
    with pytest.raises(UserError, match="holds a secret") as refused:
        refuse_typed_secrets(["seed=1", f"{key}={CANARY}"])
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_what_the_environment_keeps_is_refused_under_any_name(variable, monkeypatch):
    monkeypatch.setenv(variable, CANARY)
    with pytest.raises(UserError, match=r"^tracking\.project holds a secret") as refused:
        refuse_secrets({"tracking.project": f"x{CANARY}y"})
    assert CANARY not in str(refused.value)


def test_no_key_of_our_own_is_called_like_a_secret():
    for path in Path(CONF).rglob("*.yaml"):
        lines = path.read_text().splitlines()
        refuse_secrets({line.split(":")[0].strip(" #-"): "" for line in lines if ":" in line})


def assert_nowhere(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
        assert CANARY not in str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["+tracking.api_key=" + CANARY], ["-m", "seed=0,1", "+tracking.api_key=" + CANARY], ["name=x" + CANARY]],
    ids=["run", "sweep", "other name"],
)
def test_a_typed_key_stops_the_command_before_it_writes(arguments, corpus, tmp_path):
    done = command_line(*corpus, *arguments, folder=tmp_path, WANDB_API_KEY=CANARY)
    assert done.returncode == 2
    assert "holds a secret" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert_nowhere(tmp_path)


@pytest.mark.slow
def test_a_key_in_the_environment_stays_there(corpus, tmp_path):
    """A run with its mirror, wandb's offline files among what is searched."""
    arguments = [*TINY, *corpus, "tracking=wandb_offline", "train.max_steps=5"]
    done = command_line(*arguments, folder=tmp_path, WANDB_API_KEY=CANARY, HF_TOKEN=CANARY)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.wandb"))
    assert CANARY not in done.stdout + done.stderr
    assert_nowhere(tmp_path)
