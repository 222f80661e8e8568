"""How every figure looks: one colour per level, names in words, and files that are reproduced to the byte."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from lmablate.files import write_bytes
from lmablate.results.frames import Scalar
from lmablate.results.plots.text import FONT

Colour = str | tuple[float, float, float, float]

# The colours of Okabe and Ito, which colour-blind readers can tell apart, without yellow: it is too pale for a line.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, BLACK, BROWN = "#CC79A7", "#56B4E9", "#333333", "#8C6D31"
PALETTE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK, BROWN)

Width = Literal["column", "page"]
# In inches: a column of a paper with two, and the text of a page. Text has the same size at both.
WIDTHS: Mapping[Width, float] = {"column": 3.4, "page": 7.0}
Format = Literal["png", "svg", "pdf"]
# The formats of a file, each with the facts that it does not tell: they differ from one machine or day to another.
UNTOLD: Mapping[Format, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# The key of each format's metadata that says where a figure is from.
SOURCE_KEYS: Mapping[Format, str] = {"png": "Source", "svg": "Source", "pdf": "Subject"}
# Dots per inch of a PNG.
DPI = 200
USUAL_FORMATS: tuple[Format, ...] = ("png", "svg")
# The name under which limits of the axis of steps are given.
STEPS = "step"

# What each file of a figure says of its source.
MARK = "a figure of lmablate"

# By level. The levels of one factor differ, and a level has the same colour in every figure.
COLOURS = {
    "rope": BLUE,
    "sin": ORANGE,
    "learned": GREEN,
    "nope": RED,
    "alibi": PINK,
    "partial_rope": SKY,
    "nope_every": BROWN,
    "yarn": BLACK,
    "pre": BLUE,
    "post": RED,
    "sandwich": GREEN,
    "peri": ORANGE,
    "hybrid": PINK,
    "parallel": SKY,
    "rmsnorm": BLUE,
    "layernorm": GREEN,
    "dyt": RED,
    "llama": BLUE,
    "vanilla": RED,
    "true": BLUE,
    "false": ORANGE,
    "relu": RED,
    "gelu": GREEN,
    "silu": ORANGE,
    "swiglu": BLUE,
    "geglu": SKY,
    "relu2": PINK,
    "scaled": BLUE,
    "cs336": RED,
    "gpt2": GREEN,
    "zero_branches": ORANGE,
    "mha": BLUE,
    "gqa": ORANGE,
    "mqa": RED,
    "window": GREEN,
    "none": BLACK,
    "plain": BLACK,
    "rms": BLUE,
    "residual": BLUE,
    "cap": ORANGE,
    "head": BLUE,
    "canon": GREEN,
    "element": ORANGE,
    "layerscale": BLUE,
    "rezero": ORANGE,
    "x0": GREEN,
    "qkv": BLUE,
    "all": ORANGE,
    "branches": RED,
    "standard": BLUE,
    "mup": RED,
    "adamw": BLUE,
    "muon": RED,
    "lion": ORANGE,
    "sgd": BLACK,
    "adopt": GREEN,
    "soap": PINK,
    "decoupled": BLUE,
    "independent": RED,
    "cautious": GREEN,
    "ema": RED,
    "cosine": BLUE,
    "linear": RED,
    "wsd": GREEN,
    "constant": ORANGE,
    "ce": BLUE,
    "z": RED,
    "params": BLUE,
    "flops": ORANGE,
    "width": GREEN,
    "a": BLUE,
    "b": ORANGE,
}

FACTOR_NAMES = {
    "arch": "architecture",
    "model/norm": "norm placement",
    "model/pos": "position encoding",
    "model/act": "activation",
    "model/tying": "embeddings",
    "model/init": "initialisation",
    "model/attn": "attention",
    "model/qk_norm": "norm of queries and keys",
    "model/values": "values",
    "model/scores": "attention scores",
    "model/gate": "gate of the heads",
    "model/mixer": "mixing before attention",
    "model/residual": "residual branch",
    "model/logits": "logits",
    "model/bias": "biases",
    "model/dropout": "dropout",
    "model/scaling": "scaling with width",
    "model.norm.kind": "kind of norm",
    "model.init.salt": "draw of the initialisation",
    "optim": "optimizer",
    "optim/decay": "weight decay",
    "optim/average": "average of the weights",
    "schedule": "schedule",
    "loss": "training loss",
    "stack": "stack of choices",
    "optim.lr": "learning rate",
    "optim.min_lr": "lowest learning rate",
    "optim.warmup_steps": "warm-up steps",
    "match": "matching",
}
LEVEL_NAMES = {
    "model/pos": {
        "rope": "RoPE",
        "sin": "sinusoidal",
        "learned": "learned",
        "nope": "none (NoPE)",
        "alibi": "ALiBi",
        "partial_rope": "partial RoPE",
        "nope_every": "RoPE, some layers none",
        "yarn": "YaRN",
    },
    "model/norm": {
        "pre": "pre-norm",
        "post": "post-norm",
        "sandwich": "sandwich norm",
        "peri": "peri-norm",
        "hybrid": "hybrid norm",
        "parallel": "parallel branches",
    },
    "model.norm.kind": {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm", "dyt": "DyT", "none": "no norm"},
    "model/attn": {"mha": "all heads", "gqa": "grouped queries", "mqa": "one key head", "window": "window"},
    "model/qk_norm": {"none": "no norm", "rms": "RMS norm"},
    "model/values": {"plain": "own values", "residual": "value residual"},
    "model/scores": {"plain": "plain", "cap": "capped"},
    "model/gate": {"none": "no gate", "head": "gate per head", "element": "gate per number"},
    "model/mixer": {"none": "no mixing", "canon": "Canon"},
    "model/residual": {"plain": "plain", "layerscale": "LayerScale", "rezero": "ReZero", "x0": "embedding skip"},
    "model/logits": {"plain": "plain logits", "cap": "capped logits"},
    "model/bias": {"none": "no biases", "qkv": "biases of q, k, v", "all": "all biases"},
    "model/dropout": {"none": "no dropout", "branches": "dropout"},
    "model/scaling": {"standard": "standard scaling", "mup": "muP"},
    "model/act": {
        "relu": "ReLU",
        "gelu": "GELU",
        "silu": "SiLU",
        "swiglu": "SwiGLU",
        "geglu": "GeGLU",
        "relu2": "squared ReLU",
    },
    "model/tying": {"true": "tied", "false": "untied"},
    "model/init": {
        "cs336": "init cs336",
        "gpt2": "init gpt2",
        "scaled": "init scaled",
        "zero_branches": "init zero branches",
    },
    "optim": {"adamw": "AdamW", "muon": "Muon", "lion": "Lion", "sgd": "SGD", "adopt": "ADOPT", "soap": "SOAP"},
    "optim/decay": {
        "decoupled": "decoupled decay",
        "independent": "independent decay",
        "cautious": "cautious decay",
    },
    "optim/average": {"none": "last weights", "ema": "EMA"},
    "schedule": {
        "cosine": "cosine",
        "linear": "linear decay",
        "wsd": "warm-up, stable, decay",
        "constant": "constant rate",
    },
    "loss": {"ce": "cross-entropy", "z": "z-loss"},
    "arch": {"llama": "Llama", "vanilla": "vanilla"},
}
NOTE_SIZE = 6.5
STYLE: dict[str, Any] = {
    "font.family": FONT,
    "text.parse_math": False,  # a "$" in a name is a dollar
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#555555",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "lmablate",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # text stays text
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """How the figures of an experiment are drawn.

    Attributes:
        width: how wide they are.
        factors: the order of the factors: the first has the colours, the others make the panels. Those that are not
            named follow in the experiment's own order.
        limits: lowest and highest value by metric or pattern of metrics, and of the axis of steps under the name STEPS.
            None stands for an end that the values choose.
        legend: whether each figure has a legend; a page has one for all of its figures.
        points: how many points a curve has at most.
    """

    width: Width = "page"
    factors: Sequence[str] = ()
    limits: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    legend: bool = True
    points: int = 1000

    def limits_of(self, name: str) -> tuple[float | None, float | None]:
        """Return the limits of a metric, a pattern or the steps; None for each that was not given."""
        return self.limits.get(name, (None, None))


@contextmanager
def styled() -> Iterator[None]:
    """Apply the project's style in the block, regardless of the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # matplotlib types each key of rcParams on its own.
        matplotlib.rcParams.update(STYLE)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def figure_paths(stem: Path, formats: Sequence[Format] = USUAL_FORMATS) -> list[Path]:
    """Return the paths of the files of a figure."""
    return [stem.with_name(f"{stem.name}.{form}") for form in formats]


def is_figure(path: Path) -> bool:
    """Return whether `save_figure` wrote a file."""
    return MARK.encode() in path.read_bytes()


def save_figure(figure: Figure, stem: Path, formats: Sequence[Format] = USUAL_FORMATS) -> list[Path]:
    """Write a figure as <stem>.<format> in each format, PNG at 200 dots per inch, and return the paths.

    The same figure gives the same bytes.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = figure_paths(stem, formats)
    for path, form in zip(paths, formats, strict=True):
        write_bytes(path, figure_bytes(figure, form))
    return paths


def figure_bytes(figure: Figure, form: Format, **style: Any) -> bytes:
    """Return a figure as the content of a file; `style` replaces keys of STYLE."""
    buffer = io.BytesIO()
    with styled():
        matplotlib.rcParams.update(style)  # pyright: ignore[reportCallIssue, reportArgumentType]
        _lay_out(figure)
        figure.savefig(buffer, format=form, dpi=DPI, metadata={**UNTOLD[form], SOURCE_KEYS[form]: MARK})
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Lay out a figure once for all formats. Or matplotlib would draw it twice, the first time for the layout alone."""
    if layout := figure.get_layout_engine():
        shown = figure.dpi
        figure.set_dpi(DPI)
        layout.execute(figure)
        figure.set_dpi(shown)
        figure.set_layout_engine(None)


def colours_of(levels: Sequence[Scalar]) -> dict[Scalar, Colour]:
    """Return the colours of a factor's levels.

    Numbers run along a scale, from dark to light. Text has its colour from COLOURS. Any other text has a colour that
    its hash chooses, or the next free one if another level of the factor has that colour. More levels than the palette
    has colours run along a scale of hues.
    """
    if levels and not any(isinstance(level, str) for level in levels):
        return _along("viridis", 0.85, levels)
    if len(levels) > len(PALETTE):
        return _along("turbo", 1.0, levels)
    chosen: dict[Scalar, Colour] = {}
    for level in levels:
        if level in COLOURS and COLOURS[level] not in chosen.values():
            chosen[level] = COLOURS[level]
    for level in sorted(set(levels) - set(chosen)):
        start = hashlib.sha256(str(level).encode()).digest()[0]
        ring = [PALETTE[(start + i) % len(PALETTE)] for i in range(len(PALETTE))]
        chosen[level] = next((colour for colour in ring if colour not in chosen.values()), ring[0])
    return chosen


def _along(scale: str, end: float, levels: Sequence[Scalar]) -> dict[Scalar, Colour]:
    """Return the colours of levels along a scale of matplotlib, from its beginning to the fraction `end` of it."""
    colours = matplotlib.colormaps[scale]
    return {level: colours(end * i / max(1, len(levels) - 1)) for i, level in enumerate(sorted(levels))}


def sort_levels(levels: Iterable[Scalar]) -> list[Scalar]:
    """Return the levels of a factor in order: numbers ascending; text in the order of COLOURS, then by name."""
    known = list(COLOURS)
    return sorted(levels, key=lambda level: (known.index(level) if level in known else len(known), level))


def level_name(factor: str, level: Scalar) -> str:
    """Return a level in words: "RoPE", "lr 0.001"."""
    if isinstance(level, str):
        return LEVEL_NAMES.get(factor, {}).get(level, level or "not set")
    short_names = {"optim.lr": "lr", "optim.min_lr": "lowest lr", "optim.warmup_steps": "warm-up"}
    name = short_names.get(factor, factor.rsplit(".", 1)[-1])
    short = f"{level:g}"
    return f"{name} {short if float(short) == level else f'{level:.10g}'}"


def factor_name(factor: str) -> str:
    """Return a factor in words."""
    return FACTOR_NAMES.get(factor, factor)
