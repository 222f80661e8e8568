"""Checkpoints that survive a kill at any instant.

A checkpoint is a folder `step_00000100` with the weights and the optimizer's state in safetensors, the rest in
JSON, and a manifest with the sha256 of each. It is written under another name, flushed, and renamed: it is
there whole or not at all. A reader takes the newest one whose manifest holds.
"""

import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.files import fsync_folder, read_json, sha256, write_json
from lmablate.runs.run import differences

log = logging.getLogger(__name__)
PREFIX = "step_"
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint8: "U8", torch.bool: "BOOL"}
"""How safetensors calls them."""


class CorruptCheckpoint(Exception):
    """The files of a checkpoint are not those that its manifest was written for."""


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int = 2,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `folder/step_...` for `step` updates done, then deletes all but the newest `keep` and the best.

    Args:
        keep: at least 2, so that a damaged newest one leaves another.
        state: JSON-able facts to keep beside the tensors; `val/loss` among them decides which one is the best.

    Raises OSError where the disk is full; what was there before is then untouched.
    """
    if keep < 2:
        raise ValueError(f"keep={keep}: a checkpoint may turn out damaged, so at least 2 are kept")
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".writing_*"):
        shutil.rmtree(left_over, ignore_errors=True)
    target, part = folder / f"{PREFIX}{step:08d}", folder / f".writing_{step:08d}"
    part.mkdir()
    try:
        with _system_errors():
            save_file({name: t.contiguous() for name, t in model.state_dict().items()}, part / "model.safetensors")
            save_file(_optimizer_tensors(model, optimizer), part / "optimizer.safetensors")
        write_json(part / "state.json", {"step": step, **(state or {})})
        names = ("model.safetensors", "optimizer.safetensors", "state.json")
        for name in names:
            with (part / name).open("rb") as file:
                os.fsync(file.fileno())
        write_json(part / "manifest.json", {name: sha256(part / name) for name in names})
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        fsync_folder(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _prune(folder, keep)
    return target


@contextmanager
def _system_errors() -> Iterator[None]:
    """Makes an OSError of what safetensors raises for one: it hides the number, such as a full disk's, in its text."""
    try:
        yield
    except SafetensorError as error:
        if match := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(match[1]), os.strerror(int(match[1]))) from error
        raise


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    best: bool = False,
    run_id: str | None = None,
) -> dict[str, Any] | None:
    """Loads the newest good checkpoint below `folder` (or the one with the lowest `val/loss`) in place.

    Returns its `state` (with `step`), or None where there is none. A damaged one is reported and passed over.

    Args:
        run_id: the id of the run that it must belong to.

    Raises UserError, before anything is loaded, for a whole checkpoint of another model or run.
    """
    paths = list(_candidates(folder, best))
    for path in paths:
        try:
            _verify(path)
            state = _read_state(path)
            _check_owner(path, state, run_id, model, optimizer)
            weights = load_file(path / "model.safetensors")
            tensors = load_file(path / "optimizer.safetensors") if optimizer is not None else {}
        except (CorruptCheckpoint, SafetensorError, OSError) as error:
            log.warning("checkpoint %s is damaged (%s): trying the one before it", path, error)
            continue
        model.load_state_dict(weights)
        if optimizer is not None:
            _restore_optimizer(model, optimizer, tensors, state["step"])
            torch.set_rng_state(tensors["rng/torch"])
        return state
    if paths:
        log.warning("no checkpoint in %s is whole: starting again from step 0", folder)
    return None


def _read_state(path: Path) -> dict[str, Any]:
    """state.json. Raises CorruptCheckpoint unless it is an object with a step."""
    try:
        state = read_json(path / "state.json")
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"state.json cannot be read: {error}") from error
    if not isinstance(state, dict) or type(state.get("step")) is not int or state["step"] < 0:
        raise CorruptCheckpoint("state.json has no step")
    return state


def _check_owner(
    path: Path,
    state: Mapping[str, Any],
    run: str | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Raises UserError where the checkpoint's run or its tensors' names, types and shapes are not ours."""
    found, expected = {"run": state.get("run", run)}, {"run": run or state.get("run")}
    found |= _headers(path / "model.safetensors")
    expected |= {name: _header(tensor) for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        found |= _headers(path / "optimizer.safetensors")
        expected |= {"rng/torch": _header(torch.get_rng_state())}
        if state["step"] > 0:
            moments = ("exp_avg", "exp_avg_sq")
            expected |= {f"{m}/{name}": _header(p) for name, p in model.named_parameters() for m in moments}
    if changes := differences(found, expected):
        raise UserError(f"{path} is a checkpoint of something else: {'; '.join(changes[:5])}.")


def _headers(path: Path) -> dict[str, str]:
    """Type and shape of every tensor in a file, by name, without reading one of them."""
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        return {name: f"{s.get_dtype()}{s.get_shape()}" for name, s in slices.items()}


def _header(tensor: Tensor) -> str:
    return f"{DTYPES.get(tensor.dtype, tensor.dtype)}{list(tensor.shape)}"


def checkpoints(folder: Path) -> list[Path]:
    """Every checkpoint, oldest first, damaged or not."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def _verify(path: Path) -> None:
    """Raises CorruptCheckpoint unless every file of `path` has the sha256 that the manifest names."""
    manifest_path = path / "manifest.json"
    if not manifest_path.is_file():
        raise CorruptCheckpoint("it has no manifest.json")
    try:
        manifest = read_json(manifest_path)
        for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
            if sha256(path / name) != manifest[name]:
                raise CorruptCheckpoint(f"{name} does not have the sha256 of the manifest")
    except (ValueError, RecursionError, KeyError, TypeError, OSError) as error:
        raise CorruptCheckpoint(f"{type(error).__name__}: {error}") from error


def _candidates(folder: Path, best: bool) -> Iterator[Path]:
    newest_first = checkpoints(folder)[::-1]
    if best and (path := best_of(newest_first)):
        yield path
    yield from newest_first


def best_of(paths: list[Path]) -> Path | None:
    """The one with the lowest `val/loss` in its state; those without, or unreadable, do not count."""
    losses = {}
    for path in paths:
        with suppress(CorruptCheckpoint, OSError):
            loss = _read_state(path).get("val/loss")
            if isinstance(loss, int | float) and math.isfinite(loss):
                losses[path] = loss
    return min(losses, key=lambda path: losses[path], default=None)


def _prune(folder: Path, keep: int) -> None:
    paths = checkpoints(folder)
    best = best_of(paths)
    for path in paths[:-keep]:
        if path != best:
            doomed = path.rename(folder / f".writing_{path.name}")  # never a half-deleted checkpoint in sight
            shutil.rmtree(doomed, ignore_errors=True)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments by parameter name, and torch's random state: as tensors, since safetensors holds nothing else."""
    tensors = {"rng/torch": torch.get_rng_state()}
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            if parameter in optimizer.state:
                tensors[f"{key}/{name}"] = optimizer.state[parameter][key].contiguous()
    return tensors


def _restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], step: int
) -> None:
    for name, parameter in model.named_parameters():
        if f"exp_avg/{name}" in tensors:
            moments = {key: tensors[f"{key}/{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": step, **moments}
