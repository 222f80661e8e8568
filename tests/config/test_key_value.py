"""KEY=VALUE arguments: each is read as it was meant, or one sentence says why it cannot be."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from lmablate.config.key_value import parse, run_key_value_command
from lmablate.errors import UserError


@dataclass
class Arguments:
    """Do something."""

    prompt: Annotated[str, "the text to continue"]
    count: Annotated[int, "how many"] = 1
    heat: Annotated[float, "how wild"] = 1.0
    loud: Annotated[bool, "say more"] = False
    form: Annotated[Literal["png", "svg"], "of the picture"] = "png"
    folder: Annotated[Path | None, "where to"] = None


def test_values_of_every_type_are_parsed() -> None:
    typed = ["prompt=a=b", "count=3", "heat=.5", "loud=true", "form=svg", "folder=x/y"]
    assert parse(typed, Arguments) == Arguments("a=b", 3, 0.5, True, "svg", Path("x/y"))
    assert parse(["prompt=", "folder=null"], Arguments) == Arguments("")


@pytest.mark.parametrize(
    ("typed", "value"),
    [("count=007", 7), ("count=+3", 3), ("count=-3", -3), ("heat=1", 1.0), ("heat=1.", 1.0), ("heat=1e-3", 0.001),
     ("heat=+.5E+1", 5.0), ("heat=1e999", float("inf")), ("loud=TRUE", True)],
)  # fmt: skip
def test_numbers_are_read_as_they_are_written_everywhere(typed: str, value: object) -> None:
    assert getattr(parse(["prompt=x", typed], Arguments), typed.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (["prompt=x", "cuont=3"], "'cuont=3' is not a KEY=VALUE .* did you mean count=...?"),
        (["prompt=x", "zzz"], "'zzz' is not a KEY=VALUE .* the keys are prompt, count"),
        (["prompt=x", "count=3.5"], "count=3.5 is not allowed: it must be a whole number"),
        (["prompt=x", "count=1_0"], "count=1_0 is not allowed: it must be a whole number"),
        (["prompt=x", "count=１"], "count=１ is not allowed: it must be a whole number"),
        (["prompt=x", "count= 1"], "count= 1 is not allowed: it must be a whole number"),
        (["prompt=x", "count=1\n"], "it must be a whole number"),
        (["prompt=x", "count=" + "9" * 5000], "it must be a whole number"),
        (["prompt=x", "count=9223372036854775808"], "the largest whole number is 9223372036854775807"),
        (["prompt=x", "count=-9223372036854775808"], "the largest whole number is 9223372036854775807"),
        (["prompt=x", "count="], "count= is not allowed: it must be a whole number"),
        (["prompt=x", "count=null"], "count=null is not allowed: it must be a whole number"),
        (["prompt=x", "heat=nan"], "heat=nan is not allowed: it must be a number"),
        (["prompt=x", "heat=inf"], "heat=inf is not allowed: it must be a number"),
        (["prompt=x", "heat=1_0.5"], "heat=1_0.5 is not allowed: it must be a number"),
        (["prompt=x", "heat=1,5"], "heat=1,5 is not allowed: it must be a number"),
        (["prompt=x", "heat=٣"], "it must be a number"),
        (["prompt=x", "heat=."], "it must be a number"),
        (["prompt=x", "folder=" + "n" * 300], "folder=n+ is not allowed: file name too long"),
        (["prompt=x", "folder=" + "n/" * 3000], "is not allowed: file name too long"),
        (["prompt=x", "folder=~nosuchuser"], "folder=~nosuchuser is not allowed: there is no such user"),
        (["prompt=x", "folder="], "folder='' is not a path"),
        (["prompt=x", "folder=a\0b"], "is not a path"),
        (["prompt=x", "heat=hot"], "heat=hot is not allowed: it must be a number"),
        (["prompt=x", "loud=1"], "loud=1 is not allowed: it must be true or false"),
        (["prompt=x", "form=gif"], "form=gif is not allowed: choose one of png, svg"),
        (["prompt=x", "count=1", "count=2"], "count is given twice"),
        (["count=1"], "prompt=... is missing: the text to continue"),
    ],
)
def test_a_mistake_in_the_arguments_gets_one_sentence(typed: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse(typed, Arguments)


def test_a_key_value_command_prints_its_help_or_the_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    run_key_value_command("lmablate.something", Arguments, lambda _: pytest.fail("ran"))
    text = capsys.readouterr().out
    assert "python -m lmablate.something" in text
    assert "how many (default 1)" in text
    assert "the text to continue (required)" in text
    monkeypatch.setattr(sys, "argv", ["x", "prompt=x", "count=x"])
    with pytest.raises(SystemExit) as stop:
        run_key_value_command("lmablate.something", Arguments, lambda _: None)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("lmablate: count=x")
