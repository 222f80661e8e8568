"""Export a run as a folder that transformers loads: `python -m lmablate.export_hf run=RUN out=DIR`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.files import refuse_foreign
from lmablate.inference.hugging_face import FILES, is_export_of, save_pretrained
from lmablate.inference.load import load_run


@dataclass
class Arguments:
    """Write config.json, model.safetensors and tokenizer.json for AutoModelForCausalLM and AutoTokenizer.

    The run must have the architecture of Llama or of GPT-2.

      python -m lmablate.export_hf run=prenorm-rope out=model
          AutoModelForCausalLM.from_pretrained("model") loads it
      python -m lmablate.export_hf run=/somewhere/runs/ID out=model overwrite=true
          a run anywhere, in the place of another export
    """

    run: Annotated[str, "a run's folder, or the beginning of its id"]
    out: Annotated[Path, "the folder to write"]
    runs_dir: Annotated[Path, "where runs are"] = Path("runs")
    overwrite: Annotated[bool, "also replace files that are not of an export of this run"] = False


def export_hf(arguments: Arguments) -> None:
    """Write the folder, and print its path.

    Two architectures of transformers compute exactly what one of our models computes: Llama for pre-norm, RMSNorm,
    RoPE, SwiGLU, and GPT-2 for pre-norm, LayerNorm, learned positions, GELU.

    Raises:
        UserError: if the run has another architecture.
    """
    loaded = load_run(arguments.run, arguments.runs_dir)
    run, out = loaded.run.id, arguments.out
    files = [out / name for name in FILES]
    refuse_foreign("out", files, lambda path: is_export_of(run, out), "an export of this run", arguments.overwrite)
    save_pretrained(loaded.model, loaded.tokenizer, out, run)
    print(f"{arguments.out}  {loaded.run.id}, step {loaded.step}")


if __name__ == "__main__":
    run_key_value_command("lmablate.export_hf", Arguments, export_hf)
