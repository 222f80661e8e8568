"""Score a run on its whole validation file: `python -m lmablate.evaluate run=RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.errors import UserError
from lmablate.inference.load import load_run
from lmablate.inference.score import Score, score


@dataclass
class Arguments:
    """Score a trained run on every token of its validation file.

    Prints nats per token, perplexity, bits per byte, and the loss by position.

      python -m lmablate.evaluate run=prenorm-rope
          the run in ./runs whose id begins so
      python -m lmablate.evaluate run=/somewhere/runs/ID batch_size=64 device=cuda
          a run anywhere, in larger batches on a GPU
    """

    run: Annotated[str, "a run's folder, or the beginning of its id"]
    runs_dir: Annotated[Path, "where runs are"] = Path("runs")
    batch_size: Annotated[int, "windows of text per forward pass"] = 16
    data_dir: Annotated[Path | None, "where prepared data are; null stands for where the run found them"] = None
    device: Annotated[str, "auto, cpu or cuda"] = "auto"


def evaluate(arguments: Arguments) -> Score:
    """Print the nats per token, the perplexity, the bits per byte, and the loss by position."""
    if arguments.batch_size < 1:
        raise UserError(f"batch_size={arguments.batch_size} is not allowed: it must be at least 1.")
    loaded = load_run(arguments.run, arguments.runs_dir, arguments.device)
    tokens = loaded.validation_tokens(arguments.data_dir)
    result = score(loaded.model, tokens.array, loaded.tokenizer.token_lengths(), arguments.batch_size)
    print(f"{loaded.run.folder}  step {loaded.step}, {tokens.path}, {result.tokens:,} tokens")
    print(f"nats per token   {result.nats:.4f}")
    print(f"perplexity       {result.perplexity:.2f}")
    print(f"bits per byte    {result.bits_per_byte:.4f}")
    print("\ncontext, tokens  nats per token")
    for first, last in _octaves(len(result.by_position)):
        span = f"{first}-{last}" if last > first else f"{first}"
        print(f"{span:<17}{result.by_position[first - 1 : last].mean():.4f}")
    return result


def _octaves(length: int) -> list[tuple[int, int]]:
    """Return the ranges 1, 2-3, 4-7, ... up to `length`, since the loss falls with the logarithm of the context."""
    starts = [2**i for i in range(length.bit_length())]
    return [(start, min(2 * start - 1, length)) for start in starts]


if __name__ == "__main__":
    run_key_value_command("lmablate.evaluate", Arguments, evaluate)
