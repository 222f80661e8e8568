"""Made-up experiments, each with something that figures may stumble over, and a look at what a figure draws."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmablate.results.exports import Exported, RecordedRun, Thinning, load_exported, write_tables
from lmablate.results.exports.recorded import Curves, make_curve

Values = Callable[[int], float]
SPIKY = "residual/branch_ratio_mlp/layer_{i}"


def falling(step: int) -> float:
    return 3 + 5 * math.exp(-step / 20)


def curves(steps: Iterable[int], values: Values = falling, layers: int = 3) -> Curves:
    """The metrics of a run that logged at these steps; all have the same values."""
    steps = [*steps]
    names = ["train/loss", "val/loss", "val/bpb", "grad_norm", "tied_grad/cosine"]
    names += [SPIKY.format(i=i) for i in range(layers)]
    return {name: make_curve(steps, [values(step) for step in steps]) for name in names if steps}


def a_run(
    name: str = "base",
    steps: Iterable[int] = range(4),
    values: Values = falling,
    seed: int = 0,
    state: str = "done",
    factors: Mapping[str, Any] | None = None,
    layers: int = 3,
    **facts: Any,
) -> RecordedRun:
    measured = curves(steps, values, layers)
    last = max((int(steps[-1]) for steps, _ in measured.values()), default=1)
    known = {"tokens": 2048 * max(1, last), "max_steps": max(1, last), "warmup_steps": last // 5, "parameters": 1000}
    return RecordedRun(
        f"{name}-s{seed}",
        seed,
        state,
        lambda: measured,
        {"variant": name} if factors is None else {},
        {} if factors is None else factors,
        known | facts,
        {"x": {}},
    )


def exported(runs: list[RecordedRun], folder: Path) -> Exported:
    write_tables(runs, "x", folder, Thinning(digits=17), "none")
    return load_exported(folder, "x")


def noisy(scale: float = 1.0, offset: float = 0.0) -> Values:
    rng = np.random.default_rng(0)
    return lambda step: offset + scale * (falling(step) + 0.1 * float(rng.standard_normal()))


LONG = "a very long name of an arm that somebody typed to say everything about it at once "
NAMES = [
    "_base", "__", "_", "$x$", "$\\frac{", "a_b$", "$", "\\$5", "None", "nan", "NA", "null", "true", "False", "inf",
    "-s0", "a=b", "<b>bold</b>", "&amp;", "a & b", "\"quoted\"", "it's", "100 %", "%s", "{i}", "{}", "two\nlines",
    "tab\there", "模型", "ключ", "é", "e\u0301", "😀", "\u200b", " ", "run", "seed", "variant", "step", "value",
    "overview", "no values", "warm-up ends", "#777777", "rope", "--", "a -- b", "../up", "C:\\x", "\x1b[31m",
    "[red]", "[/]",
]  # fmt: skip

# Each scene is one line: a name, and the runs of an experiment.
SCENES: dict[str, list[RecordedRun]] = {
    "one run of one step": [a_run(steps=[0])],
    "one run whose only step is late": [a_run(steps=[500])],
    "one run of two steps": [a_run(steps=range(2))],
    "one run of three steps": [a_run(steps=range(3))],
    "three steps, a warm-up as long": [a_run(steps=range(4), warmup_steps=3)],
    "three steps, a longer warm-up": [a_run(steps=range(4), warmup_steps=100)],
    "no warm-up": [a_run(steps=range(4), warmup_steps=0)],
    "two seeds of one step": [a_run(steps=[0], seed=seed) for seed in range(2)],
    "two arms of three steps": [a_run(name, range(4)) for name in ("a", "b")],
    "49 points and 50": [a_run("a", range(49)), a_run("b", range(50))],
    "a dense run": [a_run(steps=range(400), values=noisy())],
    "one layer": [a_run(layers=1)],
    "many layers": [a_run(layers=24)],
    "constant": [a_run(values=lambda step: 3.0)],
    "constant zero": [a_run(values=lambda step: 0.0)],
    "constant and huge": [a_run(values=lambda step: 1e30)],
    "constant and tiny": [a_run(values=lambda step: 1e-30)],
    "constant and negative": [a_run(values=lambda step: -7.5)],
    "a tiny change of a large value": [a_run(values=lambda step: 1e9 + step)],
    "a rounding error of a change": [a_run(values=lambda step: 3.0 + 1e-15 * step)],
    "huge": [a_run(steps=range(60), values=noisy(1e30))],
    "tiny": [a_run(steps=range(60), values=noisy(1e-30))],
    "negative": [a_run(steps=range(60), values=noisy(-1.0))],
    "around zero": [a_run(values=lambda step: (-1.0) ** step)],
    "many powers of ten": [a_run(values=lambda step: 10.0 ** (30 * step - 60))],
    "a little more than one power of ten": [a_run(values=lambda step: 1.5 * 2.0**step, steps=range(5))],
    "larger than an axis can show": [a_run(values=lambda step: 1e300)],
    "infinite": [a_run(values=lambda step: math.inf)],
    "not a number": [a_run(values=lambda step: math.nan)],
    "some values are no numbers": [a_run(steps=range(9), values=lambda step: math.nan if step % 2 else falling(step))],
    "one arm is no numbers": [a_run("a"), a_run("b", values=lambda step: math.nan)],
    "no measurements": [a_run(steps=[])],
    "one arm has no measurements": [a_run("a"), a_run("b", steps=[])],
    "nothing is finished": [a_run(state="running"), a_run("b", state="failed")],
    "diverged at once": [a_run(steps=[0], state="failed", error="Diverged: diverged at step 1")],
    "diverged later": [a_run("a"), a_run("b", state="failed", error="Diverged: diverged at step 4")],
    "a run ends before the warm-up of another": [a_run("a", range(5)), a_run("b", range(100), warmup_steps=50)],
    "infinite on both sides": [a_run(seed=i, values=lambda step, i=i: math.inf * (-1) ** i) for i in range(2)],
    "as small as numbers get": [a_run(steps=range(3), values=lambda step: 5e-324 * 10.0 ** (60 * step))],
    "large and spread": [a_run(seed=seed, values=noisy(10.0 ** (100 + seed))) for seed in range(3)],
    "30 arms": [a_run(f"arm {i}", values=noisy(1 + i / 30)) for i in range(30)],
    "30 equal arms of one step": [a_run(f"arm {i}", steps=[0]) for i in range(30)],
    "30 arms with long names": [a_run(LONG + str(i)) for i in range(30)],
    "12 equal arms": [a_run(f"arm {i:02}", steps=range(3)) for i in range(12)],
    "a long name": [a_run(LONG * 3)],
    "long names": [a_run(f"{LONG}{i}") for i in range(4)],
    "a long word": [a_run("x" * 300), a_run("y" * 300)],
    "a long and a short name": [a_run(LONG), a_run("b")],
    "two factors": [
        a_run(f"r{lr}{norm}", factors={"model/norm": norm, "optim.lr": lr}) for lr in (1e-3, 3e-3) for norm in "ab"
    ],
    "a long factor": [a_run(f"r{i}", factors={"model." + "deeply." * 20 + "nested": i}) for i in range(3)],
    "two factors with long levels": [
        a_run(f"r{i}{j}", factors={"one": f"{LONG}{i}", "other": f"{LONG}{j}"}) for i in range(3) for j in range(4)
    ],
    "more settings than a page has room for": [
        a_run(f"r{i}{j}", factors={"one": f"level {i}", "other": f"setting {j}"}) for i in range(2) for j in range(15)
    ],
    "one learning rate each": [a_run(f"r{lr}", factors={"optim.lr": lr}) for lr in (1e-3, 3e-3)],
    "a learning rate of zero": [a_run(f"r{lr}", factors={"optim.lr": lr}) for lr in (0.0, 1e-3)],
    "nearly equal learning rates": [a_run(f"r{lr}", factors={"optim.lr": lr}) for lr in (1e-3, 1.0000001e-3)],
    "30 learning rates": [a_run(f"r{i}", factors={"optim.lr": 10 ** (-i / 5)}) for i in range(30)],
    "learning rates over settings": [
        a_run(f"r{lr}{norm}{i}", factors={"a": norm, "model/norm": f"n{i}", "optim.lr": lr})
        for lr in (1e-3, 3e-3, 1e-2)
        for norm in "ab"
        for i in range(5)
    ],
    "budgets": [
        a_run(f"r{steps}{pos}", factors={"model/pos": pos, "train.max_steps": steps}, tokens=steps, flops_per_token=1e6)
        for steps in (100, 200, 400)
        for pos in ("rope", "nope")
    ],
    "rungs of which one diverged": [
        a_run(
            f"r{rung}{arch}",
            factors={"arch": arch, "rung": rung},
            state=state,
            error=error,
            tokens=2**rung,
            flops_per_token=10**rung,
        )
        for rung in (1, 2, 3, 4)
        for arch, state, error in (
            ("llama", "done", ""),
            ("vanilla", *(("failed", "diverged at step 2") if rung == 4 else ("done", ""))),
        )
    ],
    "steps in millions": [a_run(steps=range(0, 3_000_001, 50_000), values=noisy())],
    "steps far from zero": [a_run(steps=range(1_000_000, 1_000_010))],
    "odd numbers of tokens": [a_run(tokens=7, max_steps=3)],
    "unknown facts": [a_run(tokens=None, max_steps=None, warmup_steps=None, parameters=None)],
    "state unknown": [a_run(state="unknown")],
    **{
        f"the names {NAMES[i : i + 6]}": [a_run(name, values=noisy(1 + n)) for n, name in enumerate(NAMES[i : i + 6])]
        for i in range(0, len(NAMES), 6)
    },
}


def drawn_texts(figure: Figure) -> list[Text]:
    """Draw a figure, and return the texts that it shows."""
    shown: dict[int, Text] = {}
    draw = Text.draw

    def note(self: Text, *args: Any, **kwargs: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            shown[id(self)] = self
        draw(self, *args, **kwargs)

    with patch.object(Text, "draw", note):
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    return [*shown.values()]


def overlaps(figure: Figure, texts: list[Text], slack: float = 2.0) -> Iterator[str]:
    """Yield a sentence for each pair of texts that overlap by more than `slack` pixels, and for each one cut off."""
    boxes = [text.get_window_extent() for text in texts]
    for (one, a), (other, b) in combinations(zip(texts, boxes, strict=True), 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > slack and down > slack:
            yield f"{one.get_text()!r} overlaps {other.get_text()!r}"
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in zip(texts, boxes, strict=True):
        if box.x0 < -slack or box.y0 < -slack or box.x1 > width + slack or box.y1 > height + slack:
            yield f"{text.get_text()!r} is cut off at {box}"
