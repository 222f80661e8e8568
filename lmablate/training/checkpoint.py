"""Checkpoints that survive a kill at any instant.

A checkpoint is a folder `step_00000100` with the weights and the optimizer's state in safetensors, everything else in
JSON, and a manifest with the SHA-256 of each file. A reader takes the newest checkpoint whose files match its manifest:
that of the highest step. Any module and any optimizer of torch's kind can be saved (see `optimizer_state`).

`files.atomic_write` replaces a single file, but a rename cannot replace a folder that is not empty. So a checkpoint is
written under another name, flushed to disk, and then renamed: under its own name it is complete or absent. If the step
has a checkpoint already, the old folder is deleted just before the rename. A kill in between leaves a folder that does
not match its manifest, or none, and the reader takes the checkpoint before it.
"""

import logging
import math
import operator
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lmablate.errors import UserError
from lmablate.files import fsync_file, fsync_folder, read_json, sha256, write_json
from lmablate.runs.run import differences
from lmablate.training.optim.average import EMA
from lmablate.training.optimizer_state import OptimizerState, from_json, from_moments, restore, state_of, to_json

log = logging.getLogger(__name__)

_PREFIX = "step_"
_UNFINISHED = ".writing_"  # also for a checkpoint that is being deleted
_MODEL, _OPTIMIZER, _STATE, _MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_IN_MANIFEST = (_MODEL, _OPTIMIZER, _STATE)

_JSON = "optimizer"  # key of the JSON in the optimizer's file

# What safetensors can store.
_DTYPES = frozenset({
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
    torch.uint8, torch.bool,
})  # fmt: skip


class CorruptCheckpoint(Exception):
    """The files of a checkpoint are not those that its manifest was written for."""


def save_checkpoint(
    folder: Path | str,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int = 2,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint, then delete older ones: all but the newest `keep`, the new one included, and the best one.

    Checkpoints of later steps stay.

    Args:
        folder: the folder of the run's checkpoints; it is created if it is missing.
        step: number of updates done. The checkpoint is `folder/step_<step>`.
        model: its parameters and buffers are saved.
        optimizer: its state and its groups are saved, with torch's random state.
        keep: at least 2, so that another checkpoint is left if the newest one is damaged.
        state: facts to keep beside the tensors, as JSON; the lowest `val/loss` among them marks the best checkpoint.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: if the disk is full; the earlier checkpoints are then untouched.
        ValueError: if `keep` is less than 2, `step` is less than 0, or a tensor is of a kind that cannot be stored.
        TypeError: if `state` is not JSON.
    """
    folder, step = Path(folder), _whole_number("step", step, least=0)
    if _whole_number("keep", keep, least=0) < 2:
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
    _prune(target, keep)
    return target


def _whole_number(key: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{key}={value!r}: it must be a whole number of at least {least}")
    return number


def _write_files(
    part: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write the four files of a checkpoint, each of them flushed to disk; the manifest comes last."""
    text, tensors = to_json(state_of(model, optimizer))
    with _as_system_errors():
        save_file(_storable(model.state_dict()), part / _MODEL)
        save_file(_storable(tensors), part / _OPTIMIZER, metadata={_JSON: text})
    write_json(part / _STATE, {**state, "step": step})
    for name in (_MODEL, _OPTIMIZER):
        fsync_file(part / name)
    write_json(part / _MANIFEST, {name: sha256(part / name) for name in _IN_MANIFEST})


def _storable(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors as safetensors takes them: whole, and each with memory of its own.

    Raises:
        UserError: if one is no tensor, or of a kind that safetensors cannot store.
    """
    stored, taken = {}, set()
    for name, tensor in tensors.items():
        if (kind := _kind_of(tensor)) is not None:
            raise UserError(f"{name} is {kind}, which a checkpoint cannot hold: it holds dense tensors with values.")
        tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        stored[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return stored


def _kind_of(value: Any) -> str | None:
    """Return what a value is that cannot be stored; None if it can."""
    if not isinstance(value, Tensor):
        return f"of the type {type(value).__name__}"
    if is_lazy(value) or value.is_meta:
        return "a parameter without values"
    if value.is_nested or value.layout != torch.strided:
        return "a sparse or nested tensor"
    return None if value.dtype in _DTYPES else f"of the type {value.dtype}"


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
    folder: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    best: bool = False,
    averaged: bool = False,
    run_id: str | None = None,
    first: int = 0,
    last: float = math.inf,
) -> dict[str, Any] | None:
    """Load the newest intact checkpoint of `folder`; a damaged one is skipped with a warning.

    Args:
        folder: the folder of the run's checkpoints.
        model: its parameters and buffers are replaced.
        optimizer: if it is given, its state, its groups and torch's random state are replaced, too.
        best: prefer the checkpoint with the lowest `val/loss`.
        averaged: load the average of the weights instead of the weights, if the optimizer kept one.
        run_id: id of the run that the checkpoint must belong to; None accepts every run.
        first: lowest step of a checkpoint that counts.
        last: highest step of one.

    Returns:
        The checkpoint's state with its `step`; None if there is no intact checkpoint.

    Raises:
        UserError: for an intact checkpoint of another model, optimizer or run. Nothing has been loaded then.
    """
    now = None if optimizer is None else state_of(model, optimizer)
    paths = [path for path in _candidates(Path(folder), best) if first <= int(_digits(path)) <= last]
    for path in paths:
        try:
            _verify(path)
            state = _read_state(path)
            weights = load_file(path / _MODEL) | (_averages(path / _OPTIMIZER) if averaged else {})
            saved = None if now is None else _read_optimizer(path / _OPTIMIZER, state["step"], now)
        except (CorruptCheckpoint, SafetensorError, OSError) as error:
            log.warning("checkpoint %s is damaged (%s): trying the one before it", path, error)
            continue
        found = {"run": state.get("run", run_id), "model": _headers(weights), **(saved.layout() if saved else {})}
        expected = {"run": run_id or state.get("run"), "model": _headers(model.state_dict())}
        if changes := differences(found, {**expected, **(now.layout() if now else {})}):
            raise UserError(f"{path} is a checkpoint of something else: {'; '.join(changes[:5])}.")
        if optimizer is not None and saved is not None:
            restore(model, optimizer, saved)
        model.load_state_dict(weights)
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


def _read_optimizer(path: Path, step: int, now: OptimizerState) -> OptimizerState:
    """Read the optimizer's file.

    Args:
        path: the file.
        step: the checkpoint's step.
        now: the state of the optimizer that will go on.

    Raises:
        CorruptCheckpoint: if the file does not say what an optimizer remembers.
    """
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_JSON)
    try:
        return from_moments(tensors, step, now.groups) if text is None else from_json(text, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path.name}: {type(error).__name__}: {error}") from error


def _averages(path: Path) -> dict[str, Tensor]:
    """Return the averages of the weights in an optimizer's file, by the weights' names; empty if it has none."""
    prefix = f"{EMA.KEEPS[0]}/"
    with safe_open(path, "pt") as file:
        names = [key for key in list(file.keys()) if key.startswith(prefix)]
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def _headers(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Return type and shape of every tensor, by name."""
    return {name: _kind_of(t) or f"{t.dtype}{list(t.shape)}".removeprefix("torch.") for name, t in tensors.items()}


def checkpoints(folder: Path | str) -> list[Path]:
    """Return every checkpoint in `folder`, that of the lowest step first, damaged ones included."""
    found = [path for path in Path(folder).glob(f"{_PREFIX}*") if path.is_dir() and _digits(path).isdecimal()]
    return sorted(found, key=lambda path: int(_digits(path)))


def checkpoint_steps(folder: Path | str) -> list[int]:
    """Return the step of every checkpoint in `folder`, ascending, damaged ones included."""
    return [int(_digits(path)) for path in checkpoints(folder)]


def _digits(path: Path) -> str:
    return path.name.removeprefix(_PREFIX)


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


def best_of(paths: Sequence[Path | str]) -> Path | None:
    """Return the checkpoint with the lowest `val/loss` in its state; those without one, or unreadable, do not count."""
    losses = {}
    for path in map(Path, paths):
        with suppress(CorruptCheckpoint, OSError):
            loss = _read_state(path).get("val/loss")
            if isinstance(loss, int | float) and math.isfinite(loss):
                losses[path] = loss
    return min(losses, key=lambda path: losses[path], default=None)


def _prune(written: Path, keep: int) -> None:
    """Delete the checkpoints that `save_checkpoint` does not keep after it has written one."""
    paths = checkpoints(written.parent)
    best = best_of(paths)
    for path in paths[: paths.index(written) + 1][:-keep]:
        if path != best:
            deleted = path.rename(path.with_name(f"{_UNFINISHED}{path.name}"))  # a reader never sees it half deleted
            shutil.rmtree(deleted, ignore_errors=True)
