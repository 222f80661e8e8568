"""Generate text from a trained run: `python -m lmablate.generate run=RUN prompt="def main"`."""

import codecs
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.build import check_seed
from lmablate.config.key_value import run_key_value_command
from lmablate.data.corpora import END_OF_TEXT
from lmablate.errors import UserError
from lmablate.files import read_lines
from lmablate.inference.decode import Sampler, generate_tokens
from lmablate.inference.load import load_run


@dataclass
class Arguments:
    """Continue a prompt with a trained run, up to <|endoftext|> or max_tokens.

    The same seed gives the same text.

      python -m lmablate.generate run=prenorm-rope prompt="def main"
          one text, as it is written
      python -m lmablate.generate run=prenorm-rope prompts=prompts.txt temperature=0 max_tokens=50
          the likeliest continuation of each line of a file
    """

    run: Annotated[str, "a run's folder, or the beginning of its id"]
    prompt: Annotated[str, "the text to continue; an empty one begins a new document"] = ""
    prompts: Annotated[Path | None, "a file of prompts to use instead, one per line"] = None
    max_tokens: Annotated[int, "the most tokens to write for each prompt"] = 200
    temperature: Annotated[float, "1 is the model's own distribution, 0 always takes the likeliest token"] = 1.0
    top_k: Annotated[int, "draw among this many of the likeliest tokens; 0 is all"] = 0
    top_p: Annotated[float, "draw among the fewest likeliest tokens that together have this probability"] = 1.0
    seed: Annotated[int, "the same seed gives the same text"] = 0
    runs_dir: Annotated[Path, "where runs are"] = Path("runs")
    device: Annotated[str, "auto, cpu or cuda"] = "auto"


def generate(arguments: Arguments) -> None:
    """Print the texts: a single one token by token, several after all of them are complete."""
    if arguments.max_tokens < 1:
        raise UserError(f"max_tokens={arguments.max_tokens} is not allowed: it must be at least 1.")
    if arguments.prompt and arguments.prompts:
        raise UserError("prompt=... and prompts=... exclude each other: give one text, or a file of them.")
    check_seed("seed", arguments.seed)
    sampler = Sampler(arguments.temperature, arguments.top_k, arguments.top_p)
    texts = read_prompts(arguments.prompts) if arguments.prompts else [arguments.prompt]
    loaded = load_run(arguments.run, arguments.runs_dir, arguments.device)
    tokenizer = loaded.tokenizer
    end = tokenizer.token_id(END_OF_TEXT.encode())
    prompts = [tokenizer.encode(text or END_OF_TEXT) for text in texts]
    tokens = generate_tokens(
        loaded.model, prompts, sampler, max_tokens=arguments.max_tokens, seed=arguments.seed, stop=end
    )
    if len(texts) == 1:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end inside a character
        print(texts[0], end="", flush=True)
        for _, token in tokens:
            print(decoder.decode(tokenizer.token_bytes(token)), end="", flush=True)
        print(decoder.decode(b"", final=True))
        return
    written = defaultdict(list)
    for index, token in tokens:
        written[index].append(token)
    for index, text in enumerate(texts):
        print(f"--- {index + 1}\n{text}{tokenizer.decode(written[index])}")


def read_prompts(path: Path) -> list[str]:
    """Return the prompts in a file, one per line."""
    prompts = read_lines(path, f"prompts={path}")
    if not prompts:
        raise UserError(f"prompts={path} is empty: write one prompt per line; an empty line begins a new document.")
    return prompts


if __name__ == "__main__":
    run_key_value_command("lmablate.generate", Arguments, generate)
