"""The state of any optimizer of torch's kind as named tensors and JSON, and back.

torch numbers an optimizer's parameters. Here they have their names in the model, so that a file says what is in it, and
so that the order of the parameters does not matter. What the optimizer keeps of a parameter under `key` is the tensor
`key/<parameter>`. All that is no tensor (numbers, lists, the groups of parameters) is JSON, in which {"tensor": name}
stands for a tensor.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmablate.errors import UserError

_RNG = "rng/torch"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer remembers, and torch's random state, which is kept beside it.

    Attributes:
        kind: the optimizer's class, such as "AdamW".
        entries: what it keeps of each parameter, by the parameter's name.
        groups: the hyper-parameters of each of its groups, and under "params" the names of the group's parameters.
        rng: the state of torch's random generator on the CPU.
    """

    kind: str
    entries: Mapping[str, Mapping[str, Any]]
    groups: list[dict[str, Any]]
    rng: Tensor

    def layout(self) -> dict[str, Any]:
        """Return what must be the same in an optimizer and in the state that is loaded into it."""
        group_of = {name: i for i, group in enumerate(self.groups) for name in group["params"]}
        return {"optimizer": self.kind, "groups": len(self.groups), "group": group_of, "rng": list(self.rng.shape)}


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """Return the state of an optimizer over parameters of a model; its tensors are the optimizer's own.

    Raises:
        UserError: if the optimizer has a parameter that the model has not.
    """
    packed, names = optimizer.state_dict(), _names_by_number(model, optimizer)
    if unknown := [key for key in packed["state"] if key not in names]:
        raise UserError(f"the optimizer's state {unknown[0]!r} cannot be saved: it belongs to no parameter.")
    entries = {names[number]: entry for number, entry in packed["state"].items()}
    groups = [group | {"params": [names[number] for number in group["params"]]} for group in packed["param_groups"]]
    return OptimizerState(type(optimizer).__name__, entries, groups, torch.get_rng_state())


def _names_by_number(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """Return the name of each parameter by the number that torch's `state_dict` gives to it."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in optimizer.state_dict()["param_groups"] for number in group["params"]]
    if unknown := [parameter for parameter in parameters if id(parameter) not in names]:
        raise UserError(
            f"the optimizer updates a parameter of shape {list(unknown[0].shape)} that the model has not: save a model "
            "that holds all parameters of its optimizer."
        )
    return {number: names[id(parameter)] for number, parameter in zip(numbers, parameters, strict=True)}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, saved: OptimizerState) -> None:
    """Make an optimizer of the same layout, and torch's random generator, continue from what was saved."""
    numbers = {name: number for number, name in _names_by_number(model, optimizer).items()}
    entries = {numbers[name]: dict(entry) for name, entry in saved.entries.items()}
    now = optimizer.state_dict()["param_groups"]
    groups = [old | {"params": new["params"]} for old, new in zip(saved.groups, now, strict=True)]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})
    # torch has cast the tensors to the parameter's type. The bits of later steps depend on type and order in memory.
    for name, parameter in model.named_parameters():
        for key, value in saved.entries.get(name, {}).items():
            if isinstance(value, Tensor):
                kept = optimizer.state[parameter]
                kept[key] = _ordered_like(parameter, value.to(kept[key].device))
    torch.set_rng_state(saved.rng)


def _ordered_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the parameter's order in memory, which torch's optimizers give to tensors of its shape."""
    if value.shape != parameter.shape or parameter.is_contiguous():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


# ---- In a file ----


def to_json(state: OptimizerState) -> tuple[str, dict[str, Tensor]]:
    """Return the state as JSON, and the tensors that it names.

    Raises:
        UserError: if the state holds something that is neither a tensor nor JSON.
    """
    tensors = {_RNG: state.rng}
    entries = {
        name: {key: _encoded(value, f"{key}/{name}", tensors) for key, value in entry.items()}
        for name, entry in state.entries.items()
    }
    groups = [
        {key: _encoded(value, f"{key}/group {i}", tensors) for key, value in group.items()}
        for i, group in enumerate(state.groups)
    ]
    return json.dumps({"kind": state.kind, "entries": entries, "groups": groups}, sort_keys=True), tensors


def from_json(text: str, tensors: Mapping[str, Tensor]) -> OptimizerState:
    """Return the state that `to_json` wrote; if it is another text, almost any exception may be raised."""
    content = json.loads(text)
    entries = {
        name: {key: _decoded(value, tensors) for key, value in entry.items()}
        for name, entry in content["entries"].items()
    }
    groups = [{key: _decoded(value, tensors) for key, value in group.items()} for group in content["groups"]]
    return OptimizerState(content["kind"], entries, groups, tensors[_RNG])


def from_moments(tensors: Mapping[str, Tensor], step: int, groups: list[dict[str, Any]]) -> OptimizerState:
    """Return the state in a file without JSON, as `AdamW` was saved at first: two moments of each parameter.

    Args:
        tensors: the file's tensors.
        step: number of updates done, which was that of each parameter.
        groups: the groups of the optimizer that goes on; they were not saved.

    Raises:
        KeyError: if a tensor is missing.
    """
    names = [name for group in groups for name in group["params"] if f"{_MOMENTS[0]}/{name}" in tensors]
    entries = {name: {"step": step} | {key: tensors[f"{key}/{name}"] for key in _MOMENTS} for name in names}
    return OptimizerState("AdamW", entries, groups, tensors[_RNG])


def _encoded(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON, and add the tensors in it to `tensors`, under the name given or a similar one."""
    match value:
        case Tensor():
            while name in tensors:
                name += "'"
            tensors[name] = value
            return {"tensor": name}
        case list() | tuple():
            items = [_encoded(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        case dict() if all(isinstance(key, str) for key in value):
            return {"dict": {key: _encoded(item, f"{name}.{key}", tensors) for key, item in value.items()}}
        case None | bool() | int() | float() | str():
            return value
    raise UserError(
        f"the optimizer's {name} cannot be saved: it is {value!r:.80}, and neither a tensor, a number, a text nor a "
        "list of them."
    )


def _decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case {"tensor": name}:
            return tensors[name].clone()  # at an address of its own: how sums are ordered depends on its alignment
        case {"tuple": items}:
            return tuple(_decoded(item, tensors) for item in items)
        case {"dict": items}:
            return {key: _decoded(item, tensors) for key, item in items.items()}
        case list():
            return [_decoded(item, tensors) for item in value]
    return value
