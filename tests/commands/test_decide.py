"""`python -m lmablate.decide`, from end to end: killed between two looks, and continued."""

from pathlib import Path

import pytest

from lmablate.evidence import looks
from lmablate.runs.run import all_runs
from tests.tiny import exit_code, overrides

CLAIM = """
id: {id}
text: {id}
reported: {id}
question: {id}
experiment: pair
metric: {metric}
margin: {margin}
all_of:
  - {predicate}
"""
CLAIMS = {
    # The loss at initialisation is near ln 280 = 5.6, so this is decided by two seeds.
    "C1": ("init/loss", 0.01, "{predicate: less_than, arm: {model/norm: pre}, constant: 100}"),
    # Two seeds leave this open, but not hopeless.
    "C2": ("val/loss", 0.3, "{predicate: equal, one: {model/norm: pre}, other: {model/norm: post}}"),
}


@pytest.fixture
def claims(tmp_path: Path) -> str:
    """The override of a folder of claims about the experiment `pair`."""
    folder = tmp_path / "claims"
    folder.mkdir()
    for name, (metric, margin, predicate) in CLAIMS.items():
        text = CLAIM.format(id=name, metric=metric, margin=margin, predicate=predicate)
        (folder / f"{name}.yaml").write_text(text)
    return f"claims={folder}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["looks=4,many"], "looks=4,many is not allowed: it must be ascending numbers from 2"),
        (["looks=4,2"], "looks=4,2 is not allowed"),
        (["looks="], "looks= is not allowed"),
        (["budget=6"], "budget=6 is not allowed: it must be a time such as 6h, 30min or 90s"),
        (["budget=-1h"], "budget=-1h is not allowed"),
        (["first_seed=-1"], "first_seed=-1 is not allowed: it must be a whole number from 0 on"),
        (["claims=nowhere"], "There is no folder of claims at"),
        (["looks=2", "looks=4"], "looks is given twice"),
        (["seed=1"], "seed=1 is not allowed: the looks choose the seeds"),
        (["modle.d_model=8"], "modle.d_model is not a key of the config: did you mean model.d_model?"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_a_mistake_is_one_sentence(arguments: list[str], words: str, tmp_path: Path, capsys) -> None:
    assert exit_code([*arguments, f"runs_dir={tmp_path / 'runs'}"], "lmablate.decide") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_killed_between_two_looks_and_continued(
    tmp_path: Path, claims: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "hydra/launcher=basic", "model/norm=pre,post", "name=pair", *overrides(tmp_path)]
    line = [*sweep, claims, "looks=2,3", "budget=1h"]

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(looks.LookLog, "record", kill)
        assert exit_code(line, "lmablate.decide") != 0
    folder = tmp_path / "runs" / "decide" / "pair"
    assert (folder / "looks.jsonl").read_text() == '{"looks": [2, 3]}\n'
    assert len(all_runs(tmp_path / "runs")) == 4
    capsys.readouterr()
    code = exit_code(line, "lmablate.decide")
    printed = capsys.readouterr()
    assert "2 seeds per arm: 0 runs trained" in printed.out, printed.err
    assert "C1 SUPPORTED (decided; 2 seeds)" in printed.out
    assert "Next look, 3 seeds per arm: 2 runs" in printed.out
    assert "3 seeds per arm: 2 runs trained" in printed.out
    assert code == (4 if printed.out.splitlines()[-1].endswith("open") else 0)
    assert len(all_runs(tmp_path / "runs")) == 6
    log = (folder / "looks.jsonl").read_bytes()
    assert exit_code([*line[:-1]], "lmablate.decide") == code
    assert (folder / "looks.jsonl").read_bytes() == log
    assert "3 seeds per arm: 0 runs trained" in capsys.readouterr().out
    assert exit_code([*sweep, claims, "looks=2,4"], "lmablate.decide") == 2
    assert "the looks have changed since these looks began (looks=2,3, looks=2,4)" in capsys.readouterr().err
