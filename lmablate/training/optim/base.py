"""What all optimizers share: groups of parameters, gradients, state, and the checks of hyper-parameters."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.linear import block_matrices
from lmablate.training.optim.average import NoAverage
from lmablate.training.optim.decay import Decoupled

DECOUPLED = Decoupled()


class Optimizer(torch.optim.Optimizer):
    """Base of the optimizers: a subclass defines `KEEPS` and `update`, and passes its hyper-parameters on.

    It is used as any optimizer of torch: with groups, closures, schedulers, `state_dict`. Each parameter counts its own
    steps, so the first gradient of one may come late. Complex parameters are updated as pairs of real numbers.

    Args:
        params: the parameters, or groups of them, as in torch.optim.
        decay: how much a parameter decays in a step.
        hyper_parameters: lr, weight_decay, and those of the algorithm; a group may have others.

    Attributes:
        KEEPS: names of the tensors that are kept of each parameter, of its shape; they begin at zero.
        RANGES: the number below which a hyper-parameter must be; all are at least 0.
        WIDTH_POWERS: with `model/scaling=mup`, learning rates are multiplied by the width n to these powers: in the
            matrices of the blocks, and in all else. By default those of an optimizer like Adam, whose updates have
            one size whatever the gradient (arXiv 2203.03466, table 8).
        average: the average of the weights that is kept; set it before the first step.

    Raises:
        UserError: for a hyper-parameter out of range, also one of a group; it names the key.
    """

    KEEPS: ClassVar[tuple[str, ...]] = ()
    RANGES: ClassVar[Mapping[str, float]] = {"lr": math.inf, "weight_decay": math.inf}
    WIDTH_POWERS: ClassVar[tuple[float, float]] = (-1.0, 0.0)

    # torch wraps these four in something that imports its compiler when it is called: a second per run.
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    _add_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    _load_state = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(self, params: Iterable, decay: Decoupled, **hyper_parameters: Any) -> None:
        self.decay, self.average = decay, NoAverage()
        super().__init__(params, hyper_parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "decay": self.decay, "average": self.average}

    @property
    def period(self) -> int:
        """Steps after which the work of a step repeats; 1 if all cost the same."""
        return 1

    @staticmethod
    def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """Return the groups of a model's parameters that the optimizer is made with."""
        return decay_groups(model, weight_decay)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; torch.optim calls this for the first groups, too."""
        if isinstance(param_group, dict):  # torch.optim refuses anything else
            self.check_group({**self.defaults, **param_group})
        self._add_group(param_group)
        group = self.param_groups[-1]
        try:
            for p in group["params"]:
                self.check_parameter(p, group)
        except UserError:
            self.param_groups.pop()
            raise
        if "betas" in group:
            group["betas"] = tuple(group["betas"])

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Check the hyper-parameters of a group.

        Raises:
            UserError: if one is out of range.
        """
        for key, limit in self.RANGES.items():
            if not _in_range(group.get(key), limit):
                rule = "a number, at least 0 and finite" if limit == math.inf else f"a number from 0 to below {limit:g}"
                raise UserError(f"{_full_key(key)}={group.get(key)} is not allowed: it must be {rule}.")
        if "betas" in self.defaults:
            betas = group.get("betas")
            if not isinstance(betas, Sequence) or len(betas) != 2 or not all(_in_range(beta, 1) for beta in betas):
                raise UserError(f"optim.betas={betas} is not allowed: it must be two numbers in [0, 1).")

    def check_parameter(self, p: Tensor, group: Mapping[str, Any]) -> None:
        """Check that a parameter of a group is of a kind that the algorithm takes.

        Raises:
            UserError: if it is not.
        """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            UserError: for a state that another optimizer left.
        """
        groups, own = len(state_dict["param_groups"]), len(self.param_groups)
        if groups != own:
            raise UserError(f"{type(self).__name__} has {own} groups of parameters, the state to load {groups}.")
        for group in state_dict["param_groups"]:
            self.check_group(group)
        keeps, name = {"step", *self.KEEPS, *self.average.KEEPS}, type(self).__name__
        if others := {key for state in state_dict["state"].values() for key in state} - keeps:
            sentence = f"{name} keeps {', '.join(sorted(keeps))}, but the state to load has"
            raise UserError(f"{sentence} {', '.join(sorted(others))}.")
        self._load_state(state_dict)

    @torch.no_grad()
    # torch declares two overloads that say no more than this.
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient, in place.

        Args:
            closure: computes the loss and its gradients anew; it is called before the update.

        Returns:
            What `closure` returned; None without one.

        Raises:
            UserError: if a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if params := [p for p in group["params"] if p.grad is not None]:
                grads, states = _as_real(dense_gradients(params)), [self._advance(p, group) for p in params]
                self.update(group, _as_real(params), grads, states)
                self.average.update_(params, states)
        return loss

    @contextmanager
    def averaged(self) -> Iterator[bool]:
        """Exchange the parameters for their averages in the block, if averages are kept; yield whether they are.

        A parameter that has not been updated yet stays.
        """
        if self.average.KEEPS:
            self._exchange()
        try:
            yield bool(self.average.KEEPS)
        finally:
            if self.average.KEEPS:
                self._exchange()

    def _exchange(self) -> None:
        for p, state in self.state.items():
            p.data, state["average"] = state["average"], p.data

    def update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update parameters in place.

        Args:
            group: their hyper-parameters.
            params: the parameters of the group that have a gradient; the complex ones as pairs of real numbers.
            grads: their gradients.
            states: what is kept of each; "step" is the number of this step, from 1.
        """
        raise NotImplementedError("a subclass of Optimizer must define update")

    def strength(self, group: Mapping[str, Any]) -> float:
        """Return the share of a parameter that decays in this step, over the learning rate."""
        return self.decay.strength(float(group["weight_decay"]), float(self.defaults["lr"]))

    def new_state(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what is kept of a parameter before its first step."""
        return {key: torch.zeros_like(p) for key in self.KEEPS}

    def _advance(self, p: Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
        """Count a step of a parameter, and return its state."""
        state = self.state[p]
        if not state:
            state.update(step=0, **self.new_state(p, group), **self.average.new_state(p))
        state["step"] += 1
        return state


def kept(states: list[dict[str, Any]], key: str) -> list[Tensor]:
    """Return one tensor of each state, as real numbers."""
    return _as_real([state[key] for state in states])


def _as_real(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors, the complex ones as pairs of real numbers, which Adam treats apart."""
    return [torch.view_as_real(t) if t.is_complex() else t for t in tensors]


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups in which matrices decay and vectors (norm weights, biases) do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)]


def block_groups(model: nn.Module, weight_decay: float, key: str) -> list[dict[str, Any]]:
    """Return the matrices of the blocks' linear layers, other matrices, and vectors, which do not decay.

    Args:
        model: the model; its blocks are in a module called `blocks`.
        weight_decay: of the matrices.
        key: a hyper-parameter that is true for the first of the three groups, and false for the others.
    """
    linear = {id(weight) for weight in block_matrices(model)}
    matrices, vectors = decay_groups(model, weight_decay)
    hidden, others = ([p for p in matrices["params"] if (id(p) in linear) == chosen] for chosen in (True, False))
    return [
        {**matrices, "params": hidden, key: True},
        {**matrices, "params": others, key: False},
        {**vectors, key: False},
    ]


def dense_gradients(params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of the parameters that have one; as in torch, one tensor is a parameter and not its rows.

    Raises:
        UserError: if one is sparse.
    """
    grads = [p.grad for p in ([params] if isinstance(params, Tensor) else params) if p.grad is not None]
    if any(grad.layout != torch.strided for grad in grads):
        raise UserError("a gradient is sparse, but must be dense: build the layer with sparse=False.")
    return grads


def check_counts(group: Mapping[str, Any], *keys: str) -> None:
    """Check hyper-parameters of an algorithm that count something.

    Raises:
        UserError: if one is not a whole number of at least 1.
    """
    for key in keys:
        value = group.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{_full_key(key)}={value} is not allowed: it must be a whole number, at least 1.")


def _full_key(key: str) -> str:
    """Return a hyper-parameter's key in the config: a common one stands beside the algorithm, its own ones in it."""
    return f"optim.{key}" if key in ("lr", "betas", "eps", "weight_decay") else f"optim.algorithm.{key}"


def _in_range(value: Any, limit: float) -> bool:
    """Return whether `value` is a number in [0, limit); a tensor with one element is a number, too."""
    if isinstance(value, bool) or not isinstance(value, Real | Tensor):
        return False
    return (not isinstance(value, Tensor) or value.numel() == 1) and 0 <= float(value) < limit
