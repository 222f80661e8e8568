"""Rank parts, crossed or one at a time: `python -m lmablate.effects [KEY=VALUE ...]`; --help explains the keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from lmablate.config.key_value import run_key_value_command
from lmablate.evidence.factorial import analyse_factorial, factors_of
from lmablate.evidence.one_at_a_time import compare_with_base
from lmablate.files import refuse_foreign, write_bytes
from lmablate.results import plots
from lmablate.results.design_effects import effects_table, is_effects_table, print_effects, read_design


@dataclass
class Arguments:
    """Say which part matters most: main effects, interactions of two parts, and their shares of the variance.

    Nothing is trained. The arms of a design come from a file such as conf/design/parts.yaml, which lists factors with
    their options; `fraction: 2` trains half of the arms. Every run counts for every part. Where one factor varies, as
    in a stack whose choices are left out one at a time, each option is compared with the base.

      python -m lmablate.effects experiment=factorial
          16 arms of five parts, after lmablate.train and lmablate.export of the same experiment
      python -m lmablate.effects experiment=mine metric=grad_norm
          a design of one's own, by another reading
      python -m lmablate.effects experiment=leave_one_out base=modern
          what the stack loses without each of its choices
    """

    experiment: Annotated[str, "the experiment"] = "factorial"
    base: Annotated[str, "where one factor varies: the option with which each other one is compared"] = ""
    exports: Annotated[Path, "the folder to which `lmablate.export` wrote the tables"] = Path("analysis/exports")
    metric: Annotated[str, "the reading is the last value of this metric"] = "val/loss"
    out: Annotated[Path, "the folder of the table and the figure"] = Path("analysis/effects")
    overwrite: Annotated[bool, "also replace files that are not effects of lmablate"] = False


def effects(args: Arguments) -> None:
    """Print the effects, and write them as a table and a figure; the last line is the path of the table."""
    readings = read_design(args.exports, args.experiment, args.metric)
    if args.base or len(factors_of(readings)) == 1:
        found = compare_with_base(readings, args.base)
        figure = plots.one_at_a_time_figure(found, args.metric)
    else:
        found = analyse_factorial(readings)
        figure = plots.effects_figure(found, args.metric)
    stem = args.out / args.experiment
    table, figures = stem.with_name(f"{stem.name}.effects.csv"), plots.figure_paths(stem)
    refuse_foreign("out", [table], is_effects_table, "a table of effects", args.overwrite)
    refuse_foreign("out", figures, plots.is_figure, plots.MARK, args.overwrite)
    args.out.mkdir(parents=True, exist_ok=True)
    write_bytes(table, effects_table(found).to_csv(index=False).encode())
    plots.save_figure(figure, stem)
    print_effects(found)
    print(table)


if __name__ == "__main__":
    run_key_value_command("lmablate.effects", Arguments, effects)
