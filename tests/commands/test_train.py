"""`python -m lmablate.train`, typed as a user types it, and its answers to mistakes."""

import json
from pathlib import Path

import pytest

from tests.tiny import command, exit_code


def runs_dir(tiny: list[str]) -> Path:
    return Path(next(o for o in tiny if o.startswith("runs_dir=")).split("=")[1])


def test_a_run_leaves_its_folder_and_is_done_once(tiny: list[str]) -> None:
    first = command(tiny)
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.split()[0])
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(13))
    assert {"train/loss", "grad_norm", "lr", "tokens", "tokens_per_s"} <= rows[0].keys()
    assert {"val/loss", "val/bpb"} <= rows[-1].keys()
    written = (folder / "metrics.jsonl").stat().st_mtime_ns
    again = command(tiny)
    assert again.stdout == first.stdout
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == written, "a finished run was trained again"


def test_a_sweep_over_tying_and_activations_runs_as_typed(tiny: list[str]) -> None:
    assert exit_code(["-m", "hydra/launcher=basic", "model/tying=true,false", "model/act=swiglu,relu", *tiny]) == 0
    names = {p.parent.name.rsplit("-", 1)[0] for p in runs_dir(tiny).glob("*/status.json")}
    arms = [(act, head) for act in ("swiglu", "relu") for head in ("tiedhead", "untiedhead")]
    assert {f"prenorm-rope-{act}-{head}-scaled-s0" for act, head in arms} <= names


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "thetas"), [("basic", (300, 400)), ("local_parallel", (500, 600))])
def test_the_rest_of_a_sweep_runs_when_one_fails(launcher: str, thetas: tuple[int, int], tiny: list[str]) -> None:
    swept = "model.pos.theta=" + ",".join(map(str, (-1, *thetas)))
    out = command(["-m", f"hydra/launcher={launcher}", swept, *tiny])
    assert out.returncode != 0
    assert "model.pos.theta=-1 is not allowed: it must be a positive number." in out.stderr + out.stdout
    configs = [path.read_text() for path in runs_dir(tiny).glob("*/config.yaml")]
    assert all(any(f"theta: {theta}" in text for text in configs) for theta in thetas)


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ("model/pos=xyz", "Available options in 'model/pos': alibi learned nope nope_every partial_rope rope sin yarn"),
        ("model.d_model=100 model.n_heads=3", "model.d_model=100 cannot be split among model.n_heads=3"),
        ("optim.lr=-1", "optim.lr=-1.0 is not allowed"),
        ("optim.lr=abc", "optim.lr=abc is not allowed: it must be a number."),
        ("optim.min_lr=1", "optim.min_lr=1.0 is not allowed: it must lie between 0 and optim.lr"),
        ("train.max_steps=0", "train.max_steps=0 is not allowed: it must be at least 1"),
        ("train.device=abacus", "train.device=abacus is not allowed: choose auto, cpu, cuda"),
        ("train.precision=fp7", "train.precision='fp7' is not allowed: choose fp32 or bf16."),
        ("model.pos.theta=abc", "model.pos.theta='abc' is not allowed"),
        ("model.norm.kind=abc", "choose one of rmsnorm, layernorm"),
        ("model.foo=3", "model.foo is not a key of the config: model has d_model"),
        ("+model.foo=3", "model.foo is not a key of the config"),
        ("data.train=/nowhere.txt", "data.train=/nowhere.txt"),
        ("data.train=EMPTY", "data.train="),
        ("data.train=BINARY", "data.train="),
        ("tokenizer.vocab_size=256", "it must be between 257"),
        ("tokenizer.vocab_size=65537", "and 65536"),
        ("model.context_length=100000", "needs at least 100001"),
        ("runs_dir=/dev/null/runs", "runs_dir=/dev/null/runs is not a folder: /dev/null is a file."),
        ("model.init._target_=os.system", "_target_=os.system is refused"),
        ("optim=adamm", "Available options in 'optim': adamw adopt lion muon sgd soap"),
        ("optim.algorithm._target_=lmablate.model.RoPE", "_target_=lmablate.model.RoPE is not allowed: it must be an"),
        ("optim.algorithm._target_=lmablate.training.Trainer", "_target_=lmablate.training.Trainer is refused"),
        ("optim.algorithm._partial_=false", "optim.algorithm._partial_ must be true"),
        (
            "+optim.algorithm.lr=1",
            "optim.algorithm.lr is not an argument of lmablate.training.AdamW: it takes nothing.",
        ),
        ("optim=muon optim.algorithm.ns_steps=0", "optim.algorithm.ns_steps=0 is not allowed: it must be a whole"),
        ("optim=muon optim.algorithm.ns_steps=2.5", "optim.algorithm.ns_steps=2.5 is not allowed: it must be a whole"),
        ("optim=sgd optim.algorithm.momentum=1", "optim.algorithm.momentum=1 is not allowed: it must be a number from"),
        ("optim=soap optim.algorithm.max_size=-1", "optim.algorithm.max_size=-1 is not allowed: it must be a whole"),
        ("optim/decay=no", "Available options in 'optim/decay': cautious decoupled independent"),
        ("schedule=wsd schedule.decay_fraction=0", "schedule.decay_fraction=0 is not allowed: it must be above 0"),
        ("schedule=step", "Available options in 'schedule': constant cosine linear wsd"),
        ("loss=z loss.weight=-1", "loss.weight=-1 is not allowed: it must be at least 0 and finite."),
    ],
)
def test_a_mistake_gets_one_sentence(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, answer: str
) -> None:
    (tmp_path / "EMPTY").touch()
    (tmp_path / "BINARY").write_bytes(b"good text\xff\xfe")
    wrong = wrong.replace("EMPTY", str(tmp_path / "EMPTY")).replace("BINARY", str(tmp_path / "BINARY"))
    assert exit_code([*tiny, *wrong.split()]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert "Traceback" not in printed
    assert printed.strip().splitlines()[-1].startswith("lmablate: ")


def test_a_mistake_ends_the_real_command_in_the_same_way(tiny: list[str]) -> None:
    out = command([*tiny, "model/pos=xyz"])
    assert out.returncode == 2
    assert out.stderr.startswith("lmablate: ")
    assert len(out.stderr.strip().splitlines()) == 1


def test_the_config_can_be_printed_alone(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([*tiny, "--cfg", "job"]) == 0
    assert "d_model: 16" in capsys.readouterr().out
