"""Checkpoints that survive a kill at any instant.

A checkpoint is a folder `step_00000100` with the weights and the optimizer's state in safetensors, everything else in
JSON, and a manifest with the SHA-256 of each file. A reader takes the newest checkpoint whose files match its manifest.

`files.atomic_write` replaces a single file, but a rename cannot replace a folder that is not empty. So a checkpoint is
written under another name, flushed to disk, and then renamed: under its own name it is complete or absent. If the step
has a checkpoint already, the old folder is deleted just before the rename. A kill in between leaves a folder that does
not match its manifest, or none, and the reader takes the checkpoint before it.
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
from lmablate.files import fsync_file, fsync_folder, read_json, sha256, write_json
from lmablate.runs.run import differences

log = logging.getLogger(__name__)

_PREFIX = "step_"
_UNFINISHED = ".writing_"  # also for a checkpoint that is being deleted
_MODEL, _OPTIMIZER, _STATE, _MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_IN_MANIFEST = (_MODEL, _OPTIMIZER, _STATE)

# Names of the optimizer's tensors: the two moments of each parameter are `<moment>/<parameter>`.
_MOMENTS = ("exp_avg", "exp_avg_sq")
_RNG = "rng/torch"

# Names of torch's types in safetensors.
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint8: "U8", torch.bool: "BOOL"}


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
    """Write a checkpoint, then delete all but the newest `keep` checkpoints and the best one.

    Args:
        folder: the folder of the run's checkpoints; it is created if it is missing.
        step: number of updates done. The checkpoint is `folder/step_<step>`.
        model: its parameters are saved.
        optimizer: its moments are saved, with torch's random state.
        keep: at least 2, so that another checkpoint is left if the newest one is damaged.
        state: facts to keep beside the tensors, as JSON; the lowest `val/loss` among them marks the best checkpoint.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: if the disk is full; the earlier checkpoints are then untouched.
        ValueError: if `keep` is less than 2.
    """
    if keep < 2:
        raise ValueError(f"keep={keep}: a checkpoint may turn out damaged, so at least 2 are kept")
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    target, part = folder / f"{_PREFIX}{step:08d}", folder / f"{_UNFINISHED}{step:08d}"
    part.mkdir()
    try:
        _write_files(part, step, model, optimizer, state or {})
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        fsync_folder(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _prune(folder, keep)
    return target


def _write_files(
    part: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write the four files of a checkpoint, each of them flushed to disk; the manifest comes last."""
    with _as_system_errors():
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, part / _MODEL)
        save_file(_optimizer_tensors(model, optimizer), part / _OPTIMIZER)
    write_json(part / _STATE, {"step": step, **state})
    for name in (_MODEL, _OPTIMIZER):
        fsync_file(part / name)
    write_json(part / _MANIFEST, {name: sha256(part / name) for name in _IN_MANIFEST})


@contextmanager
def _as_system_errors() -> Iterator[None]:
    """Turn a SafetensorError that was caused by the system into an OSError.

    safetensors mentions the system's error number, such as that of a full disk, only in its message.
    """
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
    """Load the newest intact checkpoint of `folder`; a damaged one is skipped with a warning.

    Args:
        folder: the folder of the run's checkpoints.
        model: its parameters are replaced.
        optimizer: if it is given, its moments and torch's random state are replaced, too.
        best: prefer the checkpoint with the lowest `val/loss`.
        run_id: id of the run that the checkpoint must belong to; None accepts every run.

    Returns:
        The checkpoint's state with its `step`; None if there is no intact checkpoint.

    Raises:
        UserError: for an intact checkpoint of another model or run. Nothing has been loaded then.
    """
    paths = list(_candidates(folder, best))
    for path in paths:
        try:
            _verify(path)
            state = _read_state(path)
            _check_owner(path, state, run_id, model, optimizer)
            weights = load_file(path / _MODEL)
            tensors = load_file(path / _OPTIMIZER) if optimizer is not None else {}
        except (CorruptCheckpoint, SafetensorError, OSError) as error:
            log.warning("checkpoint %s is damaged (%s): trying the one before it", path, error)
            continue
        model.load_state_dict(weights)
        if optimizer is not None:
            _restore_optimizer(model, optimizer, tensors, state["step"])
            torch.set_rng_state(tensors[_RNG])
        return state
    if paths:
        log.warning("all checkpoints in %s are damaged: starting again from step 0", folder)
    return None


def _read_state(path: Path) -> dict[str, Any]:
    """Read state.json.

    Raises:
        CorruptCheckpoint: if it is not an object with a step.
    """
    try:
        state = read_json(path / _STATE)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{_STATE} cannot be read: {error}") from error
    if not isinstance(state, dict) or type(state.get("step")) is not int or state["step"] < 0:
        raise CorruptCheckpoint(f"{_STATE} has no step")
    return state


def _check_owner(
    path: Path,
    state: Mapping[str, Any],
    run_id: str | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Compare the run id, and the names, types and shapes of all tensors, with those that are expected.

    Raises:
        UserError: if they differ.
    """
    found, expected = {"run": state.get("run", run_id)}, {"run": run_id or state.get("run")}
    found |= _headers(path / _MODEL)
    expected |= {name: _header(tensor) for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        found |= _headers(path / _OPTIMIZER)
        expected |= {_RNG: _header(torch.get_rng_state())}
        if state["step"] > 0:
            expected |= {f"{m}/{name}": _header(p) for name, p in model.named_parameters() for m in _MOMENTS}
    if changes := differences(found, expected):
        raise UserError(f"{path} is a checkpoint of something else: {'; '.join(changes[:5])}.")


def _headers(path: Path) -> dict[str, str]:
    """Return type and shape of every tensor in a file, by name, without reading the tensors."""
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
        return {name: f"{s.get_dtype()}{s.get_shape()}" for name, s in slices.items()}


def _header(tensor: Tensor) -> str:
    return f"{_DTYPES.get(tensor.dtype, tensor.dtype)}{list(tensor.shape)}"


def checkpoints(folder: Path) -> list[Path]:
    """Return every checkpoint in `folder`, oldest first, damaged ones included."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def _verify(path: Path) -> None:
    """Compare every file of a checkpoint with its SHA-256 in the manifest.

    Raises:
        CorruptCheckpoint: if one of them is missing or differs.
    """
    if not (path / _MANIFEST).is_file():
        raise CorruptCheckpoint(f"it has no {_MANIFEST}")
    try:
        manifest = read_json(path / _MANIFEST)
        for name in _IN_MANIFEST:
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
    """Return the checkpoint with the lowest `val/loss` in its state; those without one, or unreadable, do not count."""
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
            deleted = path.rename(folder / f"{_UNFINISHED}{path.name}")  # a reader never sees it half deleted
            shutil.rmtree(deleted, ignore_errors=True)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments by parameter name, and torch's random state, which is a tensor as well."""
    tensors = {_RNG: torch.get_rng_state()}
    for name, parameter in model.named_parameters():
        for moment in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment].contiguous()
    return tensors


def _restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], step: int
) -> None:
    for name, parameter in model.named_parameters():
        if f"exp_avg/{name}" in tensors:
            moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
            optimizer.state[parameter] = {"step": step, **moments}
