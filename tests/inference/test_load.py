"""A run is found and read back from its folder, and a damaged one is named."""

import shutil
from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.inference.load import LoadedRun, find_run, load_run
from tests.inference.helpers import train_arms


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedRun]:
    return train_arms(tmp_path_factory.mktemp("runs"))


def test_a_run_is_found_by_folder_or_by_the_beginning_of_its_id(runs):
    run = runs["neither"].run
    folder = run.folder.parent
    assert find_run(str(run.folder), folder).folder == run.folder
    assert find_run(run.id[:12], folder).folder == run.folder
    assert find_run(run.folder, str(folder)).folder == run.folder
    assert load_run(run.folder, str(folder)).step == load_run(str(run.folder)).step
    with pytest.raises(UserError, match=rf"run=prenorm is the beginning of {len(runs) - 1} runs' ids"):
        find_run("prenorm", folder)
    for name in ("nothing", "", Path("nothing")):
        with pytest.raises(UserError, match=r"neither a run's folder|is not a path"):
            find_run(name, folder)


@pytest.fixture
def copy(runs, tmp_path) -> Path:
    """A run's folder to damage."""
    return Path(shutil.copytree(runs["llama-tied"].run.folder, tmp_path / "run"))


def test_a_damaged_newest_checkpoint_is_passed_over(copy):
    newest = sorted((copy / "checkpoints").glob("step_*"))[-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert load_run(str(copy)).step == 8


def test_a_run_without_a_checkpoint_is_named(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="no good checkpoint"):
        load_run(str(copy))


@pytest.mark.parametrize("content", ["a: [", "just text", "seed: 1"])
def test_a_damaged_config_is_named(copy, content):
    (copy / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        load_run(str(copy))


def test_a_config_may_not_name_a_class_that_lmablate_does_not_define(copy):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("lmablate.model.SwiGLU", "os.system"))
    with pytest.raises(UserError, match=r"_target_=os\.system is refused"):
        load_run(str(copy))


def test_a_missing_tokenizer_is_named(copy):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        load_run(str(copy))


def test_validation_text_that_has_changed_since_is_refused(runs):
    loaded = runs["gpt2-tied"]
    text = Path(loaded.cfg.data.valid)
    before = text.read_bytes()
    tokens = loaded.validation_tokens()
    assert len(loaded.tokenizer.decode(tokens.array.tolist()).encode()) == len(before)
    try:
        text.write_bytes(before + b" and more")
        with pytest.raises(UserError, match=r"was trained on the text [0-9a-f]{12}, and its source is now"):
            loaded.validation_tokens()
    finally:
        text.write_bytes(before)
