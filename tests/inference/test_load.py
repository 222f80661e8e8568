"""Runs trained through the real entry point, then scored, continued and handed to transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lmablate import evaluate, export_hf, generate
from lmablate.errors import UserError
from lmablate.inference.decode import Sampler, score
from lmablate.inference.decode import generate as generated
from lmablate.inference.load import LoadedRun, find_run, load_run
from tests import tiny

ARMS = {
    "llama-tied": ["model/pos=rope", "model/act=swiglu", "model/tying=true", "model.pos.theta=5000"],
    "llama-untied": ["model/pos=rope", "model/act=swiglu", "model/tying=false"],
    "gpt2-tied": ["model/pos=learned", "model/act=gelu", "model.norm.kind=layernorm"],
    "gpt2-untied": ["model/pos=learned", "model/act=gelu", "model.norm.kind=layernorm", "model/tying=false"],
    "neither": ["model/norm=post", "model/pos=alibi", "model/act=relu2"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, LoadedRun]:
    """Every arm, trained for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    common = tiny.overrides(folder)
    loaded = {}
    for name, overrides in ARMS.items():
        before = set((folder / "runs").glob("*/run.json"))
        assert tiny.exit_code([*common, *overrides]) == 0
        (made,) = set((folder / "runs").glob("*/run.json")) - before
        loaded[name] = load_run(str(made.parent))
    return loaded


def runs_dir(runs: dict[str, LoadedRun]) -> Path:
    return runs["neither"].run.folder.parent


@pytest.mark.parametrize("arm", ARMS)
def test_a_loaded_run_has_the_loss_that_it_ended_with(arm, runs):
    loaded = runs[arm]
    result = evaluate.evaluate(evaluate.Arguments(run=str(loaded.run.folder), batch_size=3))
    rows = [json.loads(line) for line in loaded.run.metrics_path.read_text().splitlines()]
    assert loaded.step == 12
    assert result.nats == pytest.approx(rows[-1]["val/loss"], abs=0.4)  # theirs is over eight windows only
    assert result.tokens == loaded.validation_tokens().n_tokens - 1
    assert result.nats < rows[0]["val/loss"]


def test_the_evaluation_prints_its_figures(runs, capsys):
    loaded = runs["neither"]
    arguments = evaluate.Arguments(run=loaded.run.id[:-3], runs_dir=runs_dir(runs))
    result = evaluate.evaluate(arguments)
    said = capsys.readouterr().out
    assert f"nats per token   {result.nats:.4f}" in said
    assert f"bits per byte    {result.bits_per_byte:.4f}" in said
    assert [line.split()[0] for line in said.splitlines()[-5:]] == ["1", "2-3", "4-7", "8-15", "16"]


@pytest.mark.parametrize("arm", ["llama-tied", "llama-untied", "gpt2-tied", "gpt2-untied"])
def test_transformers_computes_the_same(arm, runs, tmp_path):
    loaded = runs[arm]
    export_hf.export_hf(export_hf.Arguments(run=str(loaded.run.folder), out=tmp_path))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert sum(p.numel() for p in theirs.parameters() if p.any()) == sum(p.numel() for p in loaded.model.parameters())
    text = torch.from_numpy(loaded.validation_tokens().array[: 3 * 16].astype(np.int64)).view(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(text).logits, loaded.model(text), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arm", ["llama-tied", "gpt2-untied"])
def test_transformers_finds_the_runs_own_validation_loss(arm, runs, tmp_path):
    """From the text on: their tokenizer, their model, the same windows."""
    loaded = runs[arm]
    export_hf.export_hf(export_hf.Arguments(run=str(loaded.run.folder), out=tmp_path))
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokens = loaded.validation_tokens()
    text = (tokens.path.parent.parent / "valid.txt").read_text()
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    assert ids.tolist() == tokens.array.tolist()
    assert tokenizer.decode(ids) == text
    losses = []
    with torch.no_grad():
        for start in range(0, len(ids) - 1, 16):
            row = ids[start : start + 17]
            losses.append(F.cross_entropy(theirs(row[None, :-1]).logits[0], row[1:], reduction="sum"))
    mean = torch.stack(losses).sum().item() / (len(ids) - 1)
    ours = score(loaded.model, tokens.array, loaded.tokenizer.token_lengths())
    assert mean == pytest.approx(ours.nats, abs=1e-3)


def test_transformers_writes_the_same_text(runs, tmp_path):
    loaded = runs["llama-tied"]
    export_hf.export_hf(export_hf.Arguments(run=str(loaded.run.folder), out=tmp_path))
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer("the cat", return_tensors="pt")
    expected = theirs.generate(**prompt, max_new_tokens=8, do_sample=False)
    ours = [t for _, t in generated(loaded.model, prompt["input_ids"].tolist(), Sampler(0), max_tokens=8)]
    assert expected[0, prompt["input_ids"].shape[1] :].tolist() == ours


def test_what_cannot_be_exported_says_why(runs, tmp_path):
    with pytest.raises(UserError, match=r"PostNorm\+RMSNorm\+ALiBi\+ReLU2, only PreNorm\+RMSNorm\+RoPE\+SwiGLU or"):
        export_hf.export_hf(export_hf.Arguments(run=str(runs["neither"].run.folder), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_single_text_streams_and_several_come_whole(runs, tmp_path, capsys):
    run = str(runs["llama-tied"].run.folder)
    generate.generate(generate.Arguments(run=run, prompt="the cat", max_tokens=20, seed=3))
    alone = capsys.readouterr().out
    assert alone.startswith("the cat")
    assert len(alone) > len("the cat\n")
    (tmp_path / "prompts.txt").write_text("the cat\non a mat and\n\nthe cat\n")
    arguments = generate.Arguments(run=run, prompts=tmp_path / "prompts.txt", max_tokens=20, seed=3)
    generate.generate(arguments)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("---")] == ["--- 1", "--- 2", "--- 3", "--- 4"]
    assert said.startswith(f"--- 1\n{alone}")


def test_the_commands_work_as_typed(runs):
    run = str(runs["gpt2-tied"].run.folder)
    done = tiny.command([f"run={run}", "prompt=the", "max_tokens=5", "temperature=0"], "lmablate.generate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the")
    for arguments, word in (
        (["run=nothing"], "run=nothing"),
        (["run=x", "top_p=2"], "top_p"),
        ([], "run=... is missing"),
    ):
        done = tiny.command(arguments, "lmablate.generate")
        assert done.returncode == 2
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_run_is_found_by_folder_or_by_the_beginning_of_its_id(runs):
    folder = runs_dir(runs)
    run = runs["neither"].run
    assert find_run(str(run.folder), folder).folder == run.folder
    assert find_run(run.id[:12], folder).folder == run.folder
    with pytest.raises(UserError, match=r"run=prenorm is the beginning of 4 runs' ids"):
        find_run("prenorm", folder)
    for name in ("nothing", ""):
        with pytest.raises(UserError, match="neither a run's folder"):
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


def test_a_config_may_not_call_what_is_not_ours(copy):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("lmablate.model.SwiGLU", "os.system"))
    with pytest.raises(UserError, match=r"_target_=os\.system is refused"):
        load_run(str(copy))


def test_a_missing_tokenizer_is_named(copy):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        load_run(str(copy))
