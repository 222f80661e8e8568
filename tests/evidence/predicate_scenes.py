"""One scene per predicate: runs whose deciding contrast has, seed by seed, exactly the given effect.

A scene has the name of its predicate.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from lmablate.evidence import PREDICATES, Predicate
from tests.evidence.helpers import STEPS, Runs

# The margin of every scene's predicate.
MARGIN = 0.01
EVAL_STEPS = STEPS[::50]

Scene = Callable[[Runs, list[float]], Predicate]


def effects(mean: float, sd: float, n: int) -> list[float]:
    """n effects with exactly this mean and standard deviation, in units of the margin."""
    noise = np.random.default_rng(n).normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return list(MARGIN * (mean + sd * noise))


def curve(seed: int) -> np.ndarray:
    """A validation curve that all arms of a seed share."""
    return 3 + 0.1 * np.sin(seed) + 6 * np.exp(-EVAL_STEPS / 60)


def predicate(name: str, **arguments: Any) -> Predicate:
    """A predicate about the validation loss in experiment `e`, unless the arguments say otherwise."""
    common: dict[str, Any] = {"experiment": "e", "metric": "val/loss", "margin": MARGIN}
    return PREDICATES[name](**(common | arguments))


def log_arms(runs: Runs, effects: list[float], **offsets: Callable[[float], Any]) -> None:
    """Add arms by name, each with the curve of its seed plus an offset that depends on the effect."""
    for seed, effect in enumerate(effects):
        for arm, offset in offsets.items():
            runs.add("e", seed, {"arm": arm})("val/loss", curve(seed) + offset(effect), EVAL_STEPS)


def lower(runs: Runs, effects: list[float]) -> Predicate:
    log_arms(runs, effects, a=lambda e: -e, b=lambda e: 0)
    return predicate("lower", better={"arm": "a"}, worse={"arm": "b"})


def lowest_of(runs: Runs, effects: list[float]) -> Predicate:
    log_arms(runs, effects, a=lambda e: -e, b=lambda e: 0, c=lambda e: 1 + e)
    return predicate("lowest_of", arm={"arm": "a"}, others=[{"arm": "b"}, {"arm": "c"}])


def highest_of(runs: Runs, effects: list[float]) -> Predicate:
    log_arms(runs, effects, a=lambda e: e, b=lambda e: 0, c=lambda e: -1 - e)
    return predicate("highest_of", arm={"arm": "a"}, others=[{"arm": "b"}, {"arm": "c"}])


def equal(runs: Runs, effects: list[float]) -> Predicate:
    log_arms(runs, effects, a=lambda e: e, b=lambda e: 0)
    return predicate("equal", one={"arm": "a"}, other={"arm": "b"})


def log_first_gradient_norms(runs: Runs, effects: list[float], sign: int) -> None:
    """One arm whose gradient norm at step 0 is 100, plus or minus the effect."""
    for seed, effect in enumerate(effects):
        runs.add("e", seed, {"arm": "a"})("grad_norm", [100 + sign * effect, 7.0], [0, 1])


def greater_than(runs: Runs, effects: list[float]) -> Predicate:
    log_first_gradient_norms(runs, effects, 1)
    return predicate("greater_than", metric="grad_norm", arm={"arm": "a"}, constant=100.0, reduce="first")


def less_than(runs: Runs, effects: list[float]) -> Predicate:
    log_first_gradient_norms(runs, effects, -1)
    return predicate("less_than", metric="grad_norm", arm={"arm": "a"}, constant=100.0, reduce="first")


def lower_at_best_lr(runs: Runs, effects: list[float]) -> Predicate:
    """Arm a is best at 3e-4 and arm b at 1e-3; at any common rate the other order would come out."""
    losses = {"a": {1e-4: 0.5, 3e-4: 0.0, 1e-3: 9.0}, "b": {1e-4: 0.4, 3e-4: 0.3, 1e-3: 0.0, 3e-3: 0.6}}
    for seed, effect in enumerate(effects):
        for arm, by_rate in losses.items():
            for rate, loss in by_rate.items():
                log = runs.add("e", seed, {"arm": arm, "optim.lr": rate})
                log("val/loss", curve(seed) + loss - (effect if arm == "a" else 0), EVAL_STEPS)
    return predicate("lower_at_best_lr", better={"arm": "a"}, worse={"arm": "b"})


def equal_at_best_rate(runs: Runs, effects: list[float]) -> Predicate:
    lower_at_best_lr(runs, effects)
    return predicate("equal_at_best_rate", one={"arm": "b"}, other={"arm": "a"})


def less_sensitive(runs: Runs, effects: list[float]) -> Predicate:
    """Losses (b, b, b + 3s) over three rates have sensitivity s; here the third diverges and is capped."""
    for seed, effect in enumerate(effects):
        for arm, sensitivity in {"a": 0.5, "b": 0.5 + effect}.items():
            base, worst = 2 + 0.1 * seed, 2 + 0.1 * seed + 3 * sensitivity
            for rate, final in {1e-4: base, 1e-3: base, 1e-2: np.nan}.items():
                log = runs.add("e", seed, {"arm": arm, "optim.lr": rate})
                log("val/loss", [9.0, final], [0, 400])
                log("init/loss", worst, [0])
    return predicate("less_sensitive", better={"arm": "a"}, worse={"arm": "b"})


def takes_higher_lr(runs: Runs, effects: list[float]) -> Predicate:
    """Beyond the best rate the loss is 0.5 higher after half a decade, in arm b earlier by the effect."""
    for seed, effect in enumerate(effects):
        for arm, decades in {"a": 0.5, "b": 0.5 - effect}.items():
            base = 2 + 0.1 * seed
            for rate, loss in {1e-4: base + 3, 1e-3: base, 1e-2: base + 0.5 / decades}.items():
                log = runs.add("e", seed, {"arm": arm, "optim.lr": rate})
                log("val/loss", [9.0, loss], [0, 400])
    return predicate("takes_higher_lr", better={"arm": "a"}, worse={"arm": "b"}, within=0.5)


def slope_with(runs: Runs, effects: list[float]) -> Predicate:
    """The peak is at (1 + effect) times the warm-up, in a run so long that whole steps do not round it."""
    for seed, effect in enumerate(effects):
        for warmup in (10**7, 2 * 10**7, 4 * 10**7):
            peak = round(warmup * (1 + effect))
            log = runs.add("e", seed, {"optim.warmup_steps": warmup})
            log("grad_norm", [1, 2, 3, 2, 1], np.arange(peak - 2, peak + 3))
    arguments = {"arm": {}, "factor": "optim.warmup_steps", "slope": 1.0, "reduce": "peak_step"}
    return predicate("slope_with", metric="grad_norm", **arguments)


def flatter_late(runs: Runs, effects: list[float]) -> Predicate:
    late = np.clip(EVAL_STEPS / 400 - 0.5, 0, None) * 2
    for seed, effect in enumerate(effects):
        for arm, fall in {"a": 0.1 - effect, "b": 0.1, "c": 1.1 + effect}.items():
            losses = 4 - fall * late + (EVAL_STEPS < 200) * (9 - seed)
            runs.add("e", seed, {"arm": arm})("val/loss", losses, EVAL_STEPS)
    return predicate("flatter_late", arm={"arm": "a"}, others=[{"arm": "b"}, {"arm": "c"}])


def diverges_over_time(runs: Runs, effects: list[float]) -> Predicate:
    early, last = EVAL_STEPS <= 100, EVAL_STEPS == 400
    log_arms(runs, effects, a=lambda e: -e * last + 1e-3 * e * early, b=lambda e: 0)
    return predicate("diverges_over_time", better={"arm": "a"}, worse={"arm": "b"}, until=0.25)


def trend_with_depth(runs: Runs, effects: list[float]) -> Predicate:
    for seed, effect in enumerate(effects):
        log = runs.add("e", seed, {"arm": "a"})
        for layer in range(12):
            log(f"ratio/layer_{layer}", 1 + seed - effect * layer / 11, [400])
    return predicate("trend_with_depth", metric="ratio/layer_{i}", arm={"arm": "a"}, direction="falls")


def faster_by(runs: Runs, effects: list[float]) -> Predicate:
    """The loss falls by the logarithm of the FLOPs, and arm a is ahead of arm b by the effect in that logarithm."""
    for seed, effect in enumerate(effects):
        for arm, ahead in {"a": effect, "b": 0.0}.items():
            for steps in (100, 200, 400):
                facts = {"tokens": 10 * steps, "flops_per_token": 7e6}
                log = runs.add("e", seed, {"arm": arm, "train.max_steps": steps}, **facts)
                log("val/loss", [9.0, 12 + 0.1 * seed - np.log(steps) - ahead], [0, steps])
    return predicate("faster_by", better={"arm": "a"}, worse={"arm": "b"})


def effect_with_scale(runs: Runs, effects: list[float]) -> Predicate:
    """Each rung has ten times the FLOPs of the one before, and a lead that is larger by the effect."""
    for seed, effect in enumerate(effects):
        for rung in (1, 2, 3):
            for arm, lead in {"a": 0.2 + rung * effect, "b": 0.0}.items():
                facts = {"tokens": 1000 * rung, "flops_per_token": 10**rung / rung}
                log = runs.add("e", seed, {"arm": arm, "rung": rung}, **facts)
                log("val/loss", [9.0, 4 + 0.1 * seed - 0.3 * rung - lead], [0, 400])
    return predicate("effect_with_scale", better={"arm": "a"}, worse={"arm": "b"}, trend="grows")


def log_design(runs: Runs, effects: list[float], lead: Callable[[float, int, int], float]) -> None:
    """A full design of three parts; arms with pos=rope are ahead by `lead` of the effect, norm and act."""
    for seed, effect in enumerate(effects):
        for pos, norm, act in itertools.product((0, 1), repeat=3):
            log = runs.add("e", seed, {"pos": ("sin", "rope")[pos], "norm": ("post", "pre")[norm], "act": f"a{act}"})
            loss = 4 + 0.1 * seed + 0.3 * norm - 0.2 * act + 0.05 * norm * act - pos * lead(effect, norm, act)
            log("val/loss", [9.0, loss], [0, 400])


def main_effect(runs: Runs, effects: list[float]) -> Predicate:
    log_design(runs, effects, lambda effect, norm, act: effect + 0.02 * (2 * norm - 1) - 0.03 * (2 * act - 1))
    return predicate("main_effect", better={"pos": "rope"}, worse={"pos": "sin"})


def interaction(runs: Runs, effects: list[float]) -> Predicate:
    log_design(runs, effects, lambda effect, norm, act: 0.1 + norm * effect + 0.04 * act)
    options = {"larger_with": {"norm": "pre"}, "than_with": {"norm": "post"}}
    return predicate("interaction", better={"pos": "rope"}, worse={"pos": "sin"}, **options)


DIFFERENCES: list[Scene] = [
    lower,
    lowest_of,
    highest_of,
    greater_than,
    less_than,
    lower_at_best_lr,
    less_sensitive,
    takes_higher_lr,
    flatter_late,
    diverges_over_time,
    trend_with_depth,
    faster_by,
    effect_with_scale,
    main_effect,
    interaction,
]
EQUALITIES: list[Scene] = [equal, slope_with, equal_at_best_rate]
