"""`python -m lmablate.generate` continues prompts with a run."""

import pytest

from lmablate import generate
from lmablate.errors import UserError
from tests import tiny
from tests.inference.helpers import train_arms


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained run's folder."""
    return str(train_arms(tmp_path_factory.mktemp("runs"), "llama-tied")["llama-tied"].run.folder)


def test_a_single_text_streams_and_several_are_printed_whole(run, tmp_path, capsys):
    generate.generate(generate.Arguments(run=run, prompt="the cat", max_tokens=20, seed=3))
    alone = capsys.readouterr().out
    assert alone.startswith("the cat")
    assert len(alone) > len("the cat\n")
    (tmp_path / "prompts.txt").write_text("the cat\non a mat and\n\nthe cat\n")
    arguments = generate.Arguments(run=run, prompts=tmp_path / "prompts.txt", max_tokens=20, seed=3)
    generate.generate(arguments)
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("---")] == ["--- 1", "--- 2", "--- 3", "--- 4"]
    assert printed.startswith(f"--- 1\n{alone}")


def test_a_file_of_prompts_that_is_not_utf8_is_named(run, tmp_path):
    (tmp_path / "prompts.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"prompts=.*prompts\.txt is not UTF-8"):
        generate.generate(generate.Arguments(run=run, prompts=tmp_path / "prompts.txt"))


def test_the_command_works_as_typed(run):
    done = tiny.command([f"run={run}", "prompt=the", "max_tokens=5", "temperature=0"], "lmablate.generate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run=nothing"], "run=nothing"),
        (["run=x", "top_p=2"], "top_p"),
        (["run=x", "max_tokens=0"], "max_tokens=0"),
        ([], "run=... is missing"),
    ],
)
def test_a_mistake_ends_in_one_sentence(arguments, named, capsys):
    assert tiny.exit_code(arguments, "lmablate.generate") == 2
    message = capsys.readouterr().err
    assert named in message
    assert "Traceback" not in message
