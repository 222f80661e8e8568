"""No secret gets into a file, a log or a tracker, whether it is typed or in the environment."""

from pathlib import Path

import pytest

from lmablate.config.credentials import refuse_secrets, refuse_typed_secrets
from lmablate.config.schema import CONF
from lmablate.errors import UserError
from tests.tiny import SMALL, command, exit_code

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
def test_a_key_that_is_named_like_a_secret_is_refused_without_its_value(key: str) -> None:
    with pytest.raises(UserError, match="holds a secret") as refused:
        refuse_typed_secrets(["seed=1", f"{key}={CANARY}"])
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_a_secret_of_the_environment_is_refused_under_any_name(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, CANARY)
    with pytest.raises(UserError, match=r"^tracking\.project holds a secret") as refused:
        refuse_secrets({"tracking.project": f"x{CANARY}y"})
    assert CANARY not in str(refused.value)


def test_no_key_of_conf_is_named_like_a_secret() -> None:
    for path in CONF.rglob("*.yaml"):
        lines = path.read_text().splitlines()
        refuse_secrets({line.split(":")[0].strip(" #-"): "" for line in lines if ":" in line})


@pytest.mark.parametrize(
    "arguments",
    [["+tracking.api_key=" + CANARY], ["-m", "seed=0,1", "+tracking.api_key=" + CANARY], ["name=x" + CANARY]],
    ids=["run", "sweep", "other name"],
)
def test_a_typed_key_stops_the_command_before_it_writes(
    arguments: list[str],
    corpus: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    assert exit_code([f"runs_dir={tmp_path / 'runs'}", *corpus, *arguments]) == 2
    printed = capsys.readouterr()
    assert "holds a secret" in printed.err
    assert CANARY not in printed.out + printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_key_in_the_environment_stays_there(corpus: list[str], tmp_path: Path) -> None:
    """Everything that a run with a wandb mirror leaves is searched."""
    arguments = [f"runs_dir={tmp_path / 'runs'}", *SMALL, *corpus, "tracking=wandb_offline"]
    done = command(arguments, cwd=tmp_path, WANDB_API_KEY=CANARY, HF_TOKEN=CANARY)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.wandb"))
    assert CANARY not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert CANARY not in str(path)
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path
