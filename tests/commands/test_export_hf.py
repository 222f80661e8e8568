"""`python -m lmablate.export_hf` writes a run for transformers."""

import pytest

from lmablate.inference.load import LoadedRun
from tests import tiny
from tests.inference.helpers import train_arms


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedRun]:
    return train_arms(tmp_path_factory.mktemp("runs"), "llama-tied", "neither")


def test_the_folder_has_the_files_that_transformers_reads(runs, tmp_path, capsys):
    run, out = runs["llama-tied"].run, tmp_path / "out"
    assert tiny.exit_code([f"run={run.id}", f"runs_dir={run.folder.parent}", f"out={out}"], "lmablate.export_hf") == 0
    written = {path.name for path in out.iterdir()}
    assert written == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert capsys.readouterr().out == f"{out}  {run.id}, step 12\n"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "{}", '{"model_type": "gpt2"}', '{"lmablate_run": "another"}', "[]", "mine"])
def test_a_model_that_is_not_of_this_run_is_not_replaced(runs, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    typed = [f"run={runs['llama-tied'].run.folder}", f"out={tmp_path}"]
    assert tiny.exit_code(typed, "lmablate.export_hf") == 2
    assert f"{name} exists already and is not an export of this run" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, content)]
    assert tiny.exit_code([*typed, "overwrite=true"], "lmablate.export_hf") == 0
    assert tiny.exit_code(typed, "lmablate.export_hf") == 0, "a newer version of itself"


def test_a_run_that_cannot_be_exported_is_refused_with_the_reason(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert tiny.exit_code([f"run={runs['neither'].run.folder}", f"out={out}"], "lmablate.export_hf") == 2
    assert "PostNorm+RMSNorm+ALiBi+ReLU2, only PreNorm+RMSNorm+RoPE+SwiGLU or" in capsys.readouterr().err
    assert not out.exists()
