"""The evidence reads tables: it must load where nothing is installed that trains."""

import subprocess
import sys


def test_evidence_loads_neither_torch_nor_hydra_nor_wandb():
    code = "import sys, lmablate.evidence; print([m for m in ('torch', 'hydra', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
