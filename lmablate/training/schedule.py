"""Schedules: the learning rate of each step. All begin with the same linear warm-up."""

import math

from lmablate.errors import UserError


class Cosine:
    """Half a cosine from lr to min_lr (arXiv 1608.03983, equation 5, without restarts). Also the base of the others.

        rate = min_lr + (lr - min_lr) · (1 + cos(π · progress)) / 2

    progress is 0 at the first step after warm-up and 1 at the last step.
    """

    def rate(self, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
        """Return the learning rate of a step after warm-up.

        Args:
            step: counted from 0; at least `warmup_steps`.
            lr: the highest learning rate.
            min_lr: the learning rate of the last step, and of all later ones.
            warmup_steps: length of the warm-up before.
            max_steps: number of steps in all.
        """
        return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, max_steps)))


class LinearDecay(Cosine):
    """A straight line from lr to min_lr; with `optim.min_lr=0` it is the decay to zero of arXiv 2502.15938.

    rate = min_lr + (lr - min_lr) · (1 - progress), with the progress of `Cosine`.
    """

    def rate(self, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
        """Return the learning rate of a step after warm-up; the arguments are those of `Cosine`."""
        return min_lr + (lr - min_lr) * (1 - _progress(step, warmup_steps, max_steps))


class WSD(Cosine):
    """Warm-up, stable, decay, arXiv 2404.06395: constant, then a straight line to min_lr in the last steps.

    Args:
        decay_fraction: share of all steps in which the rate falls, in (0, 1]; the first of them has a lower rate
            already, and the last one has min_lr. Warm-up comes first: if both do not fit, the fall is shorter.

    Raises:
        UserError: if the share is out of range.
    """

    def __init__(self, decay_fraction: float = 0.2) -> None:
        if not 0 < decay_fraction <= 1:
            raise UserError(
                f"schedule.decay_fraction={decay_fraction} is not allowed: it must be above 0 and at most 1."
            )
        self.decay_fraction = decay_fraction

    def rate(self, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
        """Return the learning rate of a step after warm-up; the arguments are those of `Cosine`."""
        steps = max(1, min(round(self.decay_fraction * max_steps), max_steps - warmup_steps))
        into_decay = step + 1 - (max_steps - steps)
        return lr if into_decay <= 0 else min_lr + (lr - min_lr) * (1 - min(1.0, into_decay / steps))


class Constant(Cosine):
    """lr in every step after warm-up; min_lr has no effect."""

    def rate(self, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
        """Return the highest learning rate."""
        return lr


def _progress(step: int, warmup_steps: int, max_steps: int) -> float:
    """Return how much of the way from the end of warm-up to the last step is done, at most 1."""
    return min(1.0, (step - warmup_steps) / max(1, max_steps - 1 - warmup_steps))


def learning_rate(schedule: Cosine, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of one step: it rises linearly to `lr` over `warmup_steps`, then follows the schedule.

    Args:
        schedule: what comes after warm-up.
        step: counted from 0.
        lr: the highest learning rate.
        min_lr: the learning rate of the last step.
        warmup_steps: length of the rise; 0 for none.
        max_steps: number of steps in all.

    Raises:
        UserError: if a number is negative.
    """
    for key, value in dict(step=step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps).items():
        if not value >= 0:
            raise UserError(f"{key}={value} is not allowed: a schedule's numbers must be at least 0.")
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    return schedule.rate(step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps)


def cosine_schedule(step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of one step of the schedule `Cosine`; the arguments are those of `learning_rate`."""
    return learning_rate(Cosine(), step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps)
