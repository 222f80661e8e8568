"""Files and arguments from somebody else build nothing but our classes, and run nothing at all."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from lmablate.config.build import build, build_model
from lmablate.config.trust import is_our_class, refuse_foreign_classes, refuse_unsafe_config
from lmablate.errors import UserError
from lmablate.files import sha256
from lmablate.training.checkpoint import load_checkpoint
from tests.faults.harness import CONF, configured, every_choice, finish, the_run

FOREIGN = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.load",
    "lmablate",
    "lmablate.runs.run.os.system",
    "lmablate.model.init.math.exp",
    "lmablate.data.corpora.os.system",
    "lmablate.model.torch.load",
    "lmablate.model.nn.Linear",
    "lmablate.data.prepare.prepare",
    "lmablate.files.write_bytes",
    "lmablate.runs.metrics.MetricsLog",
    "lmablate.model.Transformer.forward",
    "lmablate.model.__class__",
    "lmablate.model.RoPE.__init__.__globals__",
    "lmablate..model.RoPE",
    "lmablate.model.RoPE\n",
    "lmablate.model.ＲoPE",
    "lmablate_evil.model.RoPE",
    "xlmablate.model.RoPE",
    "",
    "['os.system']",
]


@pytest.mark.parametrize("target", FOREIGN, ids=repr)
def test_only_classes_that_we_define_are_built(target):
    assert not is_our_class(target)


@pytest.mark.parametrize(
    "hide",
    [
        lambda target: {"_target_": target},
        lambda target: {"a": [{"b": {"_target_": target}}]},
        lambda target: {"_target_": "lmablate.model.RoPE", "_args_": [{"_target_": target}]},
        lambda target: {"_target_": "lmablate.model.RoPE", "theta": {"_target_": target, "_args_": ["true"]}},
        lambda target: {"x": target, "y": {"_target_": "${..x}"}},
        lambda target: {"y": "${oc.create:{_target_:" + target + "}}"},
    ],
)
def test_a_target_is_found_wherever_it_hides(hide):
    node = OmegaConf.create(hide("os.system"))
    with pytest.raises(UserError, match=r"^_target_=os\.system is refused: [^\n]*\.$"):
        build(node)


def test_every_class_that_our_configs_name_is_allowed():
    for choices in every_choice():
        refuse_foreign_classes(OmegaConf.to_container(configured(*choices, "diagnostics=full"), resolve=True))
    for path in Path(CONF).glob("*/**/*.yaml"):
        if path.parent.name != "launcher":
            refuse_foreign_classes(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


HYDRA = {
    "callbacks": {"failures": {"_target_": "lmablate.config.hydra_entry.ReportFailures"}},
    "launcher": {"_target_": "hydra_plugins.lmablate_launchers.local_parallel.LocalParallelLauncher"},
    "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"},
    "job_logging": {"root": None},
    "hydra_logging": {"root": None},
    "job": {"env_set": {}},
}
EVIL = {"_target_": "os.system", "command": "true"}
HANDLER = {"root": {"handlers": ["x"]}, "handlers": {"x": {"()": "os.system"}}}


def test_our_own_hydra_section_is_allowed():
    refuse_unsafe_config(OmegaConf.create({"hydra": HYDRA}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"callbacks": {"x": EVIL}}, "hydra.callbacks is refused"),
        ({"callbacks": "${oc.create:{x:{_target_:os.system}}}"}, "hydra.callbacks is refused"),
        ({"launcher": HYDRA["launcher"] | {"n_jobs": EVIL}}, "_target_=os.system in hydra.launcher"),
        ({"sweeper": HYDRA["sweeper"] | {"params": [EVIL]}}, "_target_=os.system in hydra.sweeper"),
        ({"job_logging": HANDLER}, "hydra.job_logging is refused"),
        ({"hydra_logging": "${x}"}, "hydra.hydra_logging is refused"),
        ({"job": {"env_set": {"LD_PRELOAD": "./x.so"}}}, "hydra.job.env_set is refused"),
    ],
)
def test_what_hydra_itself_would_call_is_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        refuse_unsafe_config(OmegaConf.create({"hydra": HYDRA | change}))


def command_line(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """`python -m lmablate.train` in `folder`, with what it says on stdout and stderr."""
    command = [sys.executable, "-m", "lmablate.train", f"runs_dir={folder / 'runs'}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(CONF).parent), **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["+hydra.callbacks.x={_target_: os.system, command: touch canary}"],
        ["+hydra.callbacks.x={_target_: lmablate.runs.run.os.system, command: touch canary}"],
        ["+model.pos.x={_target_: os.system, command: touch canary}"],
        ["-m", "hydra.launcher._target_=os.system", "+hydra.launcher.command=touch canary"],
        ["-m", "+hydra.launcher.x={_target_: os.system, command: touch canary}"],
        ["experiment=evil", "hydra.searchpath=[file://evil_conf]"],
    ],
    ids=" ".join,
)
def test_the_command_line_runs_nothing_foreign(arguments, tmp_path):
    evil = tmp_path / "evil_conf" / "experiment"
    evil.mkdir(parents=True)
    callback = "{callbacks: {x: {_target_: os.system, command: touch canary}}}"
    (evil / "evil.yaml").write_text(f"# @package _global_\nhydra: {callback}\n")
    done = command_line(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("lmablate: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "runs").exists()


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_pickle_in_a_checkpoint_is_not_executed(name, tmp_path, caplog):
    """Also where the manifest vouches for it."""
    cfg = configured()
    model = build_model(cfg)
    path = tmp_path / "checkpoints" / "step_00000001"
    path.mkdir(parents=True)
    save_file(model.state_dict(), path / "model.safetensors")
    save_file({}, path / "optimizer.safetensors")
    (path / "state.json").write_text('{"step": 1}')
    (path / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    if name != "manifest.json":
        names = ("model.safetensors", "optimizer.safetensors", "state.json")
        (path / "manifest.json").write_text(json.dumps({name: sha256(path / name) for name in names}))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    if name == "optimizer.safetensors":  # which a reader of the weights alone does not open
        assert load_checkpoint(path.parent, model) == {"step": 1}
    else:
        assert load_checkpoint(path.parent, model) is None
        assert "is damaged" in caplog.text
    assert not (tmp_path / "canary").exists()
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())
    if name != "model.safetensors":
        assert load_file(path / "model.safetensors").keys() == weights.keys()


def test_nothing_in_a_runs_folder_names_a_file_outside(corpus, tmp_path, log):
    cfg = configured(*corpus, f"runs_dir={tmp_path / 'runs'}", "train.max_steps=1")
    assert finish(cfg, log) == 0
    run = the_run(cfg)
    assert str(tmp_path) not in run.facts_path.read_text()
    assert run.tokenizer_path.parent == run.folder
