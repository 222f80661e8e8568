"""The installed package is whole: from a wheel, in an empty folder, a project is begun, trained, judged and drawn."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.tiny import ROOT

pytestmark = pytest.mark.slow

TINY = [
    "model.d_model=16", "model.n_heads=2", "model.n_layers=1", "model.context_length=16", "train.max_steps=8",
    "train.eval_every=4", "train.batch_size=2", "train.eval_batches=1", "tokenizer.vocab_size=270", "tracking=none",
    "hydra.sweeper.params={model/pos: 'log_bias,rope,alibi', seed: '0,1'}",
]  # fmt: skip

# Runs a notebook in its own folder.
NOTEBOOK = """
import sys, nbclient, nbformat
from pathlib import Path
path = Path(sys.argv[1])
nbclient.NotebookClient(nbformat.read(path, 4), resources={"metadata": {"path": str(path.parent)}}).execute()
"""


class Installed:
    """An environment with the wheel, and the packages that it needs, but not this checkout."""

    def __init__(self, folder: Path) -> None:
        self.empty = folder / "empty"
        self.empty.mkdir()
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
        subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
        (self.wheel,) = folder.glob("*.whl")
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / "bin"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # A .pth file adds the folder, but does not read its .pth files, so the editable install stays out.
        site = folder / "venv" / "lib" / version / "site-packages"
        (site / "packages.pth").write_text(sysconfig.get_path("purelib"))
        install = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "-q", "--no-deps"]
        subprocess.run([*install, str(self.wheel)], check=True, capture_output=True)

    def run(self, *command: str, cwd: Path | None = None, **env: str) -> str:
        """Run a command, and return what it printed."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LMABLATE"))}
        done = subprocess.run(
            command, cwd=cwd or self.empty, env=clean | {"PATH": path, "OMP_NUM_THREADS": "1"} | env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *command: str, cwd: Path) -> str:
        with pytest.raises(AssertionError) as error:
            self.run(*command, cwd=cwd)
        return str(error.value)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def project(installed: Installed) -> Path:
    installed.run("lmablate", "new", "mine")
    return installed.empty / "mine"


def test_the_checkout_is_not_what_runs(installed: Installed) -> None:
    assert str(ROOT) not in installed.run("python", "-c", "import lmablate; print(lmablate.__file__)")


def test_all_commands_are_listed_and_have_a_help(installed: Installed) -> None:
    listed = installed.run("lmablate")
    assert listed == installed.run("python", "-m", "lmablate")
    for line in listed.splitlines()[2:]:
        name = line.split()[0]
        assert len(installed.run("lmablate", name, "--help").splitlines()) > 5


def test_a_new_project_runs_from_any_folder_in_it(installed: Installed, project: Path) -> None:
    installed.run("make", "test", cwd=project)
    refused = installed.fails("lmablate", "train", "experiment=positions", *TINY, cwd=project)
    assert "_target_=mine.pos.LogBias is refused" in refused
    assert "LMABLATE_TRUST=mine" in refused
    below = project / "tests"
    trust = ("--trust", "mine")
    sweep = ("experiment=positions", *TINY)
    installed.run("lmablate", "train", *sweep, *trust, cwd=below)
    assert "6 done" in installed.run("lmablate", "status", *sweep, *trust, cwd=below)
    assert "6 done" in installed.run("python", "-m", "lmablate.status", cwd=below)
    installed.run("lmablate", "plan", *sweep, *trust, cwd=below)
    installed.run("lmablate", "audit", *sweep, *trust, cwd=below)
    exported = installed.run("lmablate", "export", "experiment=positions", cwd=below)
    assert "positions: 6 runs" in exported
    installed.run("lmablate", "figures", "experiment=positions", cwd=below)
    page = Path(installed.run("lmablate", "report", cwd=below).splitlines()[-1])
    assert page == project / "analysis" / "report.html"
    assert "The log-distance bias ends at a lower validation loss than ALiBi." in page.read_text()
    assert "C07" not in page.read_text()
    page = Path(installed.run("lmablate", "report", "experiment=positions", cwd=below).splitlines()[-1])
    assert page == project / "analysis" / "positions.html"
    installed.run("python", "-c", NOTEBOOK, str(project / "analysis" / "explore.ipynb"), cwd=below)
    run = next((project / "runs").glob("prenorm-logbias-*-s0-*"))
    facts = json.loads((run / "run.json").read_text())
    assert list(facts["identity"]["own_code"]) == ["mine.pos.LogBias"]
    assert facts["choices"]["model/pos"] == "log_bias"
    told = installed.run("lmablate", "generate", f"run={run.name}", "max_tokens=3", *trust, cwd=below)
    assert told
    made = {path.name for path in (project / "analysis").iterdir()}
    assert made >= {"exports", "figures", "report.html", "verdicts.csv"}
    assert {path.name for path in below.iterdir()} <= {"test_variants.py", "__pycache__"}


def test_an_edited_class_is_another_run(installed: Installed, project: Path) -> None:
    arguments = ("lmablate", "train", "model/pos=log_bias", *TINY[:-1], "--trust", "mine")
    installed.run(*arguments, cwd=project)
    before = set((project / "runs").iterdir())
    source = project / "mine" / "pos.py"
    source.write_text(source.read_text().replace("torch.zeros(n_heads)", "torch.full((n_heads,), 0.1)", 1))
    done = subprocess.run(
        [installed.bin / "lmablate", *arguments[1:]], cwd=project, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "was trained with other code of your classes, and stays: this is another run" in done.stderr
    (new,) = set((project / "runs").iterdir()) - before
    assert new.name.startswith("prenorm-logbias-")
    installed.run(*arguments, cwd=project)
    assert set((project / "runs").iterdir()) == before | {new}
