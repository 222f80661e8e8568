"""The direction of imports: entry points -> loop -> parts; the parts know neither Hydra nor wandb."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lmablate"
ENTRY_POINTS = {
    "audit", "evaluate", "export", "export_hf", "figures", "generate", "prepare", "report", "status", "train",
}  # fmt: skip
KNOW_HYDRA = {*ENTRY_POINTS, "cli", "config", "sweeps", "auditing", "lr_sweep", "loading", "trust"}
KNOW_WANDB = {"tracking", "export", "exports"}
KNOW_NO_TORCH = {"evidence", "matching", "exports", "plots", "reporting", "figures", "export", "report"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def top(module: str) -> str:
    """`lmablate.model.pos` -> `model`; `torch.nn` -> `torch`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lmablate" and len(parts) > 1 else parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    used = imports(path)
    ours = {top(module) for module in used if module.startswith("lmablate.")} - {name}
    others = {module.split(".")[0] for module in used if not module.startswith("lmablate")}
    if name not in ENTRY_POINTS:
        assert not ours & ENTRY_POINTS, "a part imports an entry point"
    if name not in KNOW_HYDRA:
        assert not others & {"hydra", "omegaconf"}, "Hydra belongs to the entry points and config"
        assert "config" not in ours
    if name not in KNOW_WANDB:
        assert "wandb" not in others, "wandb belongs to tracking and export"
    if name in KNOW_NO_TORCH:
        assert "torch" not in others, "tables are read without torch"
        assert not ours & {"model", "optim", "loss", "loop", "config", "data"}


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_entry_points_can_be_read_aloud(name: str) -> None:
    assert len((PACKAGE / f"{name}.py").read_text().splitlines()) <= 80
