"""How initialisation, learning rates and scores depend on the width of the model."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lmablate.errors import UserError
from lmablate.model.checks import check_sizes
from lmablate.model.linear import block_matrices
from lmablate.model.pos import Heads, Stream


class Standard:
    """What the other choices say holds at every width. Also the base of the others.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        check_sizes({"model.d_model": d_model, "model.n_heads": n_heads})

    def queries(self, q: Heads) -> Heads:
        """Return the queries from which scores are computed."""
        return q

    def hidden(self, x: Stream) -> Stream:
        """Return what the output matrix reads."""
        return x

    def std(self, std_of: Callable[[Tensor], float], weight: Tensor, in_block: bool) -> float:
        """Return the standard deviation of a matrix's first values.

        Args:
            std_of: what the initialisation scheme says for a matrix of this name.
            weight: the matrix.
            in_block: whether it is that of a linear layer of a block.
        """
        return std_of(weight)

    def groups(
        self, model: nn.Module, groups: Sequence[Mapping[str, Any]], powers: tuple[float, float]
    ) -> list[dict[str, Any]]:
        """Return the optimizer's groups, each with the factor `lr_scale` of its learning rate if that is not 1.

        Args:
            model: the model.
            groups: groups of its parameters.
            powers: how the best learning rate depends on the width, as `Optimizer.WIDTH_POWERS` says.
        """
        return [dict(group) for group in groups]


class MuP(Standard):
    """The maximal update parametrisation, arXiv 2203.03466, table 8: the best learning rate stays as the model widens.

    With n = d_model / base_d_model, and so that n = 1 is `Standard`:

        linear layers of the blocks   first values as at the base, over sqrt(n); learning rate (of Adam) over n
        all else                      first values and learning rate as at the base
        scores                        q kᵀ sqrt(base_d_head) / d_head
        logits                        the output matrix reads x / n

    Matrices that decay lose the same share of themselves in a step at every width (arXiv 2405.13698): their weight
    decay grows as their learning rate shrinks. d_ff is taken to grow with d_model, as `match=width` makes it. Depth
    changes nothing. A model narrower than the base has larger logits at first: choose the narrowest as the base.

    Args:
        d_model: width of the residual stream.
        n_heads: number of heads.
        base_d_model: the width at which the learning rate was chosen.
        base_n_heads: number of heads there.

    Raises:
        UserError: if the base has no whole width of heads.
    """

    def __init__(self, d_model: int, n_heads: int, *, base_d_model: Any = 64, base_n_heads: Any = 4) -> None:
        super().__init__(d_model, n_heads)
        check_sizes({"model.scaling.base_d_model": base_d_model, "model.scaling.base_n_heads": base_n_heads})
        if base_d_model % base_n_heads:
            raise UserError(
                f"model.scaling.base_n_heads={base_n_heads} is not allowed: model.scaling.base_d_model={base_d_model} "
                "must be a multiple of it."
            )
        self.d_model, self.n = d_model, d_model / base_d_model
        self.of_queries = math.sqrt(base_d_model / base_n_heads / (d_model / n_heads))

    def queries(self, q: Heads) -> Heads:
        """Return q sqrt(base_d_head / d_head)."""
        return q * self.of_queries

    def hidden(self, x: Stream) -> Stream:
        """Return x / n."""
        return x * (1 / self.n)

    def std(self, std_of: Callable[[Tensor], float], weight: Tensor, in_block: bool) -> float:
        """Return that of the same matrix in a model of the base's width, over sqrt(n) in a linear layer."""
        rows, columns = weight.shape
        if in_block or columns != self.d_model:
            rows = max(1, round(rows / self.n))
        if in_block or columns == self.d_model:
            columns = max(1, round(columns / self.n))
        at_base = std_of(weight.new_empty(rows, columns, device="meta"))
        return at_base / math.sqrt(self.n) if in_block else at_base

    def groups(
        self, model: nn.Module, groups: Sequence[Mapping[str, Any]], powers: tuple[float, float]
    ) -> list[dict[str, Any]]:
        """Return the groups, each split into the linear layers of the blocks and all else, with their own rates."""
        matrices, split = {id(weight) for weight in block_matrices(model)}, []
        for group in groups:
            for in_block, power in zip((True, False), powers, strict=True):
                if params := [p for p in group["params"] if (id(p) in matrices) == in_block]:
                    rate = {"lr_scale": self.n**power, "weight_decay": group["weight_decay"] / self.n**power}
                    split.append({**group, "params": params, **rate})
        return split
