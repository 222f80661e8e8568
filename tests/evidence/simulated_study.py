"""A whole simulated study: every experiment that the report's claims need, with a truth that the test chooses."""

from typing import Any

import numpy as np

from tests.evidence.helpers import STEPS, Log, Runs

SEEDS = range(5)
RATES = {1e-4: 0.3, 3e-4: 0.02, 1e-3: 0.0, 3e-3: 0.04, 1e-2: 0.6}
EVALS = STEPS[::20]
TIME = EVALS / 400
LATE = np.clip(TIME - 0.25, 0, None) / 0.75
WARMUP = 40


class SimulatedStudy(Runs):
    """Runs of all experiments.

    Args:
        truth: 1 makes every claim of the report true, -1 makes it false, 0 makes all arms alike.
    """

    def __init__(self, truth: int):
        super().__init__()
        self.truth = truth
        self.rng = np.random.default_rng(truth + 10)
        for seed in SEEDS:
            self.tuned(seed)
            self.norm_location_lr(seed)
            self.norm_location(seed)
            self.norm_init(seed)
            self.warmup(seed)
            self.positional_encoding(seed)
            self.weight_tying(seed)
            self.activation(seed)
            self.gated(seed)

    def noise(self, sd: float, size: int | None = None) -> Any:
        return self.rng.normal(0, sd, size)

    def validation(self, log: Log, seed: int, offset: Any = 0.0) -> None:
        noise = self.noise(0.001) + self.noise(0.001, EVALS.size)
        log("val/loss", 3 + seed / 10 + 6 * np.exp(-8 * TIME) + offset + noise, EVALS)

    def rates(self, log: Log) -> None:
        log("lr", np.minimum(STEPS / WARMUP, 1 - (STEPS - WARMUP) / 400))

    def gradient(self, log: Log, level: float, spread: float) -> None:
        self.rates(log)
        log("grad_norm", level + self.noise(spread, STEPS.size))

    def tuned(self, seed: int) -> None:
        for arm, offset in {"llama": -0.05 * self.truth, "vanilla": 0}.items():
            self.validation(self.add("llama_vs_vanilla_tuned", seed, {"arch": arm}), seed, offset)
        for norm, offset in {"pre": 0.05 * self.truth, "post": 0}.items():
            self.validation(self.add("norm_location_tuned", seed, {"model/norm": norm}), seed, offset)

    def norm_location_lr(self, seed: int) -> None:
        steep = {"pre": 1 - 0.8 * self.truth, "post": 1 + 0.8 * self.truth}
        for norm, offset in {"pre": 0.05 * self.truth, "post": 0}.items():
            for rate, penalty in RATES.items():
                log = self.add("norm_location_lr", seed, {"model/norm": norm, "optim.lr": rate})
                self.validation(log, seed, offset + penalty * steep[norm])
                log("init/loss", 9.2, [0])

    def norm_location(self, seed: int) -> None:
        spikes = {"pre": 1 - self.truth, "post": 1 + self.truth}
        for norm in ("pre", "post"):
            log = self.add("norm_location", seed, {"model/norm": norm})
            loss = 4 - STEPS / 400 + self.noise(0.01, STEPS.size)
            count = spikes[norm] and spikes[norm] + seed % 3
            loss[self.rng.choice(np.arange(200, 400), count, replace=False)] += 3
            log("train/loss", loss)
            self.rates(log)
            log("clipped", self.rng.random(STEPS.size) < 0.5 - 0.4 * self.truth)
            for layer in range(4):
                late = self.truth * (norm == "pre") * layer / 3 + self.noise(0.01)
                depth = np.array([0.1 * layer, 0.1 * layer + late])
                for branch in ("attn", "mlp"):
                    log(f"residual/branch_ratio_{branch}/layer_{layer}", np.exp(-1.5 * depth), [0, 400])
                log(f"residual/stream_cosine/layer_{layer}", 0.7 + 0.2 * depth, [0, 400])
                log(f"residual/drop_loss/layer_{layer}", 0.5 - 0.3 * depth, [0, 400])

    def norm_init(self, seed: int) -> None:
        for tying in ("true", "false"):
            for init in ("cs336", "gpt2", "scaled"):
                for norm, size in {"pre": 30 * 3.0**-self.truth, "post": 30 * 3.0**self.truth}.items():
                    arm = {"model/norm": norm, "model/tying": tying, "model/init": init}
                    self.add("norm_init", seed, arm)("grad_norm", size * np.exp(self.noise(0.02)), 0)

    def warmup(self, seed: int) -> None:
        for steps in (40, 80, 160):
            peak = (steps if self.truth == 1 else 60) + int(self.rng.integers(-2, 3))
            log = self.add("warmup", seed, {"optim.warmup_steps": steps})
            log("grad_norm", 1 + 3 * np.exp(-(((STEPS - peak) / 15) ** 2)))

    def positional_encoding(self, seed: int) -> None:
        offsets = {"rope": -0.1, "sin": 0.0, "learned": 0.05 * LATE, "nope": 0.2}
        growth = {"rope": 0.25 - 0.25 * self.truth, "sin": 0.25 + 0.25 * self.truth}
        for pos, offset in offsets.items():
            log = self.add("positional_encoding", seed, {"model/pos": pos})
            self.validation(log, seed, self.truth * np.asarray(offset))
            calm = 0.6**self.truth if pos == "rope" else 1.0
            self.gradient(log, calm, 0.1 * calm)
            for times in (1, 2, 4) if pos in growth else (1,):
                longer = (times > 1) * (growth.get(pos, 0) + self.noise(0.002))
                log(f"position_loss/{times}x", 3 + seed / 10 + longer, 400)

    def weight_tying(self, seed: int) -> None:
        for experiment in ("weight_tying", "weight_tying_flops"):
            for tying in ("true", "false"):
                for init in ("cs336", "scaled"):
                    arm = {"model/tying": tying, "model/init": init}
                    log = self.add(experiment, seed, arm)
                    tied = tying == "true"
                    self.validation(log, seed, self.truth * tied * (0.05 + 0.04 * (1 - TIME)))
                    peak = 3 * 3.0 ** (self.truth if tied else -self.truth) * np.exp(self.noise(0.05))
                    log("grad_norm", 1 + peak * np.exp(-(((STEPS - 30) / 8) ** 2)))
                    if tied:
                        log("tied_grad/cosine", [-0.3 * self.truth + self.noise(0.02)] * 3, [0, 200, 400])

    def activation(self, seed: int) -> None:
        for act in ("relu", "gelu", "silu"):
            relu = act == "relu"
            log = self.add("activation", seed, {"model/act": act})
            self.validation(log, seed, 0.05 * self.truth * relu)
            rough = 1.5**self.truth if relu else 1.0
            self.gradient(log, rough, 0.1 * rough)
            for layer in range(4):
                dead = (0.01 + 0.005 * self.truth) * relu
                log(f"dead_units/layer_{layer}", dead * np.exp(self.noise(0.1)), 400)

    def gated(self, seed: int) -> None:
        for base in ("activation_llama", "activation_vanilla"):
            for act, offset in {"swiglu": -0.05 * self.truth, "relu": 0}.items():
                self.validation(self.add(base, seed, {"model/act": act}), seed, offset)
