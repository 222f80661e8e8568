"""What a layer or a function may be given; all else is refused in one sentence. Only shapes and types are read."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lmablate.errors import UserError


def check_sizes(sizes: Mapping[str, Any]) -> None:
    """Check that every size of a layer, by its key, is a whole number of at least 1.

    Raises:
        UserError: if one is not; it names the key.
    """
    for key, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise UserError(f"{key}={size!r} is not allowed: it must be a whole number, and it must be at least 1.")


def positive_number(key: str, value: Any) -> float:
    """Return `value` as a float; it comes from a yaml or a command line, so it may be of any type.

    Raises:
        UserError: if it is not a positive, finite number; it names the key.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{key}={value!r} is not allowed: it must be a positive number.")
    return float(value)


def check_floats(name: str, x: Any, *dims: int | str) -> None:
    """Check that a tensor holds floats, and that its last dimensions are `dims`; before them any others may stand.

    Args:
        name: the argument's name, for the message.
        x: the argument.
        dims: for each of the last dimensions its size, or a name if it may have any size.

    Raises:
        UserError: if it is something else.
    """
    if not isinstance(x, Tensor):
        raise UserError(f"{name} must be a torch tensor, but is of the type {type(x).__name__}.")
    fits = x.is_floating_point() and x.dim() >= len(dims)
    for i, size in enumerate(reversed(dims), start=1):
        fits = fits and (isinstance(size, str) or x.shape[-i] == size)
    if not fits:
        wanted = ", ".join(map(str, ("...", *dims)))
        raise UserError(f"{name} must hold floats in the shape [{wanted}], but holds {_described(x)}.")


def check_one_type(names: str, *tensors: Tensor) -> None:
    """Check that tensors which are multiplied with each other are of one type; torch.autocast makes them so.

    Args:
        names: how the message calls them together.
        tensors: the tensors.

    Raises:
        UserError: if their types differ.
    """
    first = tensors[0]
    if any(x.dtype != first.dtype for x in tensors) and not torch.is_autocast_enabled(first.device.type):
        types = " and ".join(str(x.dtype).removeprefix("torch.") for x in tensors)
        raise UserError(f"{names} must be of one type, but are {types}: cast them, or use torch.autocast.")


def check_ids(name: str, ids: Any) -> None:
    """Check that a tensor holds whole numbers, of any type and shape.

    Raises:
        UserError: if it is something else.
    """
    if not isinstance(ids, Tensor):
        raise UserError(f"{name} must be a torch tensor, but is of the type {type(ids).__name__}.")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise UserError(f"{name} must hold token ids, which are whole numbers, but holds {_described(ids)}.")


def check_range(name: str, ids: Tensor, count: int) -> None:
    """Check that every id is less than `count`; this reads all of them, so it is called after torch has failed.

    Raises:
        UserError: if one is not, or if it is negative.
    """
    if bad := ids[(ids < 0) | (ids >= count)].tolist():
        raise UserError(f"{name} must be from 0 to {count - 1}, as the vocabulary has {count}, but has {bad[0]}.")


def _described(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} in the shape {list(x.shape)}"
