"""Confounds: differences between arms, besides the factor, that already show at step 0."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lmablate.errors import counted


@dataclass(frozen=True)
class ArmStart:
    """One arm at step 0. A value that was not measured is NaN, and then no warning depends on it.

    Attributes:
        name: the arm's name.
        parameters: number of parameters.
        mlp_parameters: number of parameters in the MLPs.
        flops_per_token: training FLOPs per token.
        grad_clip: threshold at which the gradient's norm is clipped.
        uniform: ln V, the loss in nats of a model for which all V tokens are equally likely.
        init_loss: loss at initialisation, in nats per token.
        logit_std: standard deviation of the logits.
        grad_norm: norm of the gradient before clipping.
        position_ratio: size of the vectors that the position encoding adds to the token embeddings, over the size of
            the embeddings.
        budget: the arm's values of the factors that set a run's size and length, such as the rung of a ladder. Only
            arms of one budget are compared with each other.
    """

    name: str
    parameters: float
    mlp_parameters: float
    flops_per_token: float
    grad_clip: float
    uniform: float
    init_loss: float
    logit_std: float
    grad_norm: float
    position_ratio: float
    budget: tuple[str, ...] = field(default=(), kw_only=True)


def find_confounds(arms: Sequence[ArmStart], seeds: int, rates: Mapping[str, float] | None = None) -> Iterator[str]:
    """Yield a warning, one sentence in plain words, for each confound among the arms.

    Args:
        arms: the arms of a sweep, at step 0.
        seeds: number of seeds of each arm.
        rates: the learning rate of each arm, by its name, if nobody tuned it; None if it was tuned or is swept over.
    """
    groups = [[a for a in arms if a.budget == budget] for budget in dict.fromkeys(a.budget for a in arms)]
    for group in groups:
        yield from _unequal("parameters", {a.name: a.parameters for a in group}, 1.01)
        yield from _unequal("training FLOPs per token", {a.name: a.flops_per_token for a in group}, 1.01)
        yield from _unequal("MLP parameters", {a.name: a.mlp_parameters for a in group}, 1.01)
    for arm in arms:
        yield from _bad_start(arm)
    for group in groups:
        yield from _unequal("the gradient norm at step 0", {a.name: a.grad_norm for a in group}, 3.0)
    if len(arms) > 1 and rates:
        yield _untuned(rates)
    if len(arms) > 1 and seeds < 3:
        yield f"{counted(seeds, 'seed')}: a difference between single runs has no error rate. Use seed=0,1,2,3."


def _untuned(rates: Mapping[str, float]) -> str:
    """Return the warning about learning rates that were not tuned."""
    values = sorted({*rates.values()})
    if len(values) == 1:
        what = f"all arms share optim.lr={values[0]:g}, which may suit one of them better"
    else:
        low, high = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
        what = (
            f"the arms have learning rates of their own, from optim.lr={rates[low]:g} of {low} to {rates[high]:g} of "
            f"{high}, and no pilot tuned them with equal effort"
        )
    return f"{what}: python -m lmablate.tune finds each arm's own."


def _bad_start(arm: ArmStart) -> Iterator[str]:
    """Yield the warnings about one arm's initialisation, whatever the other arms are."""
    if arm.init_loss > arm.uniform + 1:
        yield (
            f"{arm.name} starts at {arm.init_loss:.1f} nats, {arm.init_loss - arm.uniform:.1f} above ln V = "
            f"{arm.uniform:.1f} (logits spread by {arm.logit_std:.1f}): its first steps undo the initialisation, "
            "so what they show may be the initialisation's and no other factor's. Compare under model/init=scaled."
        )
    if arm.grad_norm > 10 * arm.grad_clip:
        yield (
            f"{arm.name} has a gradient of norm {arm.grad_norm:.1f} at step 0, clipped to "
            f"{arm.grad_clip:g}: its early updates depend on the clipping threshold."
        )
    if arm.position_ratio > 3:
        yield (
            f"{arm.name} adds positions {arm.position_ratio:.1f} times as large as the token embeddings: at first "
            "the model sees little more than each token's position."
        )


def _unequal(quantity: str, values: Mapping[str, float], ratio: float) -> Iterator[str]:
    """Yield one sentence if the largest of `values`, by arm, is more than `ratio` times the smallest."""
    values = {name: value for name, value in values.items() if value == value} or {"": 0.0}
    low, high = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    if values[high] > ratio * values[low]:
        yield (
            f"the arms differ in {quantity}: {high} has {values[high] / values[low]:.3g} x those of {low} "
            f"({_amount(values[high])} against {_amount(values[low])})."
        )


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
