"""What is known of each metric: its name and unit as figures show them, its caption, and whether it has a figure.

`KNOWN` is the one table of it. A metric of another package's probe extends it by what the class declares in `METRICS`
(`lmablate.diagnostics.Probe`); one that nobody describes is drawn under its own name, tidied, and without a unit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Stands for the index in the name of a metric that is measured per layer, bin, ...
INDEX = "{i}"
LOSS_UNIT = "nats/token"


@dataclass(frozen=True)
class Quantity:
    """How a metric is shown.

    Attributes:
        name: its name in words.
        unit: its unit in words; empty for a pure number, or if it is unknown.
        caption: a sentence for a reader who does not know it; empty for none.
        index: what {i} in a pattern of metrics counts, if the word before it does not say it.
        drawn: whether it has a figure of its own if nobody asks for it. A pattern is drawn over its index, any other
            metric over training.
        spoken: its name in a sentence, if `name` is too short for one.
    """

    name: str
    unit: str = ""
    caption: str = ""
    index: str = ""
    drawn: bool = True
    spoken: str = ""

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


# In the order in which a page shows them.
KNOWN: Mapping[str, Quantity] = {
    "train/loss": Quantity("training loss", LOSS_UNIT, "Training loss."),
    "val/loss": Quantity("validation loss", LOSS_UNIT, "Validation loss."),
    "grad_norm": Quantity("gradient norm", caption="Norm of the gradient before clipping."),
    "tied_grad/cosine": Quantity(
        "cosine of gradients",
        caption="Cosine between the input and the output part of a tied matrix's gradient. Below zero they conflict.",
    ),
    "untied_grad/cosine": Quantity(
        "cosine of gradients",
        caption="Cosine between the gradients of the two matrices of an untied model.",
    ),
    "residual/branch_ratio_attn/layer_{i}": Quantity(
        "attention over stream",
        caption="Size of what attention adds to the residual stream, over the size of the stream, by layer.",
        spoken="size of what attention adds, over that of the stream,",
    ),
    "residual/branch_ratio_mlp/layer_{i}": Quantity(
        "MLP over stream",
        caption="Size of what the MLP adds to the residual stream, over the size of the stream, by layer.",
        spoken="size of what the MLP adds, over that of the stream,",
    ),
    "residual/stream_cosine/layer_{i}": Quantity(
        "cosine before, after",
        caption="Cosine of the residual stream before and after each layer. At 1 the layer does not turn it.",
        spoken="cosine of the stream before and after a layer",
    ),
    "residual/drop_loss/layer_{i}": Quantity(
        "rise of the loss",
        LOSS_UNIT,
        "Rise of the loss if the residual stream skips a layer.",
        spoken="rise of the loss if a layer is skipped",
    ),
    "dead_units/layer_{i}": Quantity(
        "dead MLP units", "fraction", "Fraction of MLP units that no token of a fixed batch activates, by layer."
    ),
    "position_loss/bin_{i}": Quantity(
        "loss by position", LOSS_UNIT, "Loss in each eighth of the training context.", "eighth of the context"
    ),
    "position_loss/{i}x": Quantity(
        "loss at the window's end", LOSS_UNIT,
        "Loss in the last quarter of a window of 1, 2 and 4 training contexts.",
        "window in contexts",
    ),
    "grad_norm/layer_{i}": Quantity("gradient norm", caption="Gradient norm of each layer at the end of training."),
    "coordinates/attn/layer_{i}": Quantity("size of attention's output", caption="Root mean square, by layer."),
    "coordinates/mlp/layer_{i}": Quantity("size of the MLP's output", caption="Root mean square, by layer."),
    "coordinates/stream/layer_{i}": Quantity("size of the stream", caption="Root mean square after each layer."),
    "coordinates/logits": Quantity("size of the logits", caption="Root mean square of the logits."),
    "val/raw_loss": Quantity("validation loss without averaging", LOSS_UNIT, drawn=False),
    "val/bpb": Quantity("validation loss", "bits/byte", drawn=False),
    "final/val_loss": Quantity("final validation loss", LOSS_UNIT, drawn=False),
    "final/val_bpb": Quantity("final validation loss", "bits/byte", drawn=False),
    "grad_norm/embed": Quantity("gradient norm of the embedding", drawn=False),
    "grad_norm/head": Quantity("gradient norm of the head", drawn=False),
    "grad_norm_clipped": Quantity("gradient norm after clipping", drawn=False),
    "clipped": Quantity("clipped steps", "fraction", drawn=False),
    "tied_grad/norm_ratio": Quantity("norm of the input's gradient over the output's", drawn=False),
    "untied_grad/norm_ratio": Quantity("norm of the input's gradient over the output's", drawn=False),
    "init/loss": Quantity("loss before training", LOSS_UNIT, drawn=False),
    "init/loss_over_uniform": Quantity("loss before training, over ln V", LOSS_UNIT, drawn=False),
    "init/logit_std": Quantity("deviation of the logits before training", drawn=False),
    "init/position_ratio": Quantity("positions over embeddings before training", drawn=False),
    "lr": Quantity("learning rate", drawn=False),
    "tokens": Quantity("training tokens", "tokens", drawn=False),
    "tokens_per_s": Quantity("speed", "tokens/s", drawn=False),
}  # fmt: skip


def quantity_of(metric: str, declared: Mapping[str, Sequence[str]] | None = None) -> Quantity:
    """Return what is known of a metric, or of a pattern of metrics.

    Args:
        metric: its name, such as "val/loss", "dead_units/layer_{i}" or "dead_units/layer_3".
        declared: name and unit of further metrics and patterns, as their probes declare them.
    """
    if metric in KNOWN:
        return KNOWN[metric]
    if declared and metric in declared:
        name, unit = declared[metric]
        return Quantity(name, unit)
    pattern, index = _pattern_of(metric)
    if index is not None and (pattern in KNOWN or (declared and pattern in declared)):
        whole = quantity_of(pattern, declared)
        return Quantity(f"{whole.name}, {index_name(pattern)} {index}", whole.unit, whole.caption, drawn=whole.drawn)
    words = re.sub(r"(^|/)\w*\{i\}\w*$", "", metric) or metric
    return Quantity(" ".join(words.replace("/", ": ").replace("_", " ").split()) or metric)


def is_known(metric: str) -> bool:
    """Return whether KNOWN describes a metric, as such or by its pattern."""
    return metric in KNOWN or _pattern_of(metric)[0] in KNOWN


def _pattern_of(metric: str) -> tuple[str, int | None]:
    """Return a metric's name with {i} in place of the number at its end, and the number; None if there is none."""
    match = re.search(r"[0-9]{1,9}(?=x?$)", metric)
    if not match:
        return metric, None
    return metric[: match.start()] + INDEX + metric[match.end() :], int(match[0])


def profiles(metrics: Sequence[str]) -> dict[str, dict[int, str]]:
    """Return the patterns among the metrics' names, such as "dead_units/layer_{i}", each with its metrics by index."""
    found: dict[str, dict[int, str]] = {}
    for metric in metrics:
        pattern, index = _pattern_of(metric)
        if index is not None:
            found.setdefault(pattern, {})[index] = metric
    return {pattern: dict(sorted(members.items())) for pattern, members in found.items() if len(members) > 1}


def index_name(pattern: str) -> str:
    """Return what {i} in a pattern of metrics counts: by KNOWN, or by the word before it, "layer" for layer_{i}."""
    if pattern in KNOWN and KNOWN[pattern].index:
        return KNOWN[pattern].index
    word = pattern.rpartition(INDEX)[0].rpartition("/")[2].strip("_.- ")
    return word.replace("_", " ") or "index"
