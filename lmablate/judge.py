"""Judge anyone's training script: `python -m lmablate.judge [KEY=VALUE ...]`; --help explains the keys."""

import sys
from dataclasses import dataclass

from lmablate.config.key_value import run_key_value_command
from lmablate.referee.options import Options


@dataclass
class Arguments(Options):
    """Run two commands with the same seeds, and say which is better; seeds are added until it is decided.

    {seed} stands for the seed, {out} for the folder in which the command runs. Nothing is run twice: the same command
    goes on where it was stopped. The exit code is 0 if a is better, 5 if b is, 3 if they are equivalent, 4 if it is
    open, 1 if runs failed, and 2 after a mistake.

      python -m lmablate.judge a='python train.py --seed {seed}' b='python new.py --seed {seed}' metric='log:loss (.+)'
          which script ends lower?
      python -m lmablate.judge aa='python train.py --seed {seed}' metric=json:result.json:loss n=8
          how much does one script vary, and which effects can be seen?
      python -m lmablate.judge table=results.csv metric=loss
          runs that exist already: columns arm, seed, loss
      python -m lmablate.judge base='python train.py --seed {seed}' metric=json:result.json:loss out=session
      python -m lmablate.judge proposal='python new.py --seed {seed}' out=session
          many proposals, one after the other, with one error rate for all of them
    """


def judge(args: Arguments) -> None:
    """Do what the keys ask for, print what was found, and end with its exit code."""
    args.check()
    # Here: the statistics behind a verdict take a second to load, which a mistake need not wait for.
    from lmablate.referee.compare import compare_commands
    from lmablate.referee.foreign import judge_results
    from lmablate.referee.noise import measure_noise
    from lmablate.referee.sessions import judge_proposal

    tasks = {
        "compare": compare_commands,
        "noise": measure_noise,
        "table": judge_results,
        "session": judge_proposal,
    }
    report = tasks[args.mode](args)
    report.show(args.format)
    sys.stdout.flush()
    sys.exit(report.exit_code)


if __name__ == "__main__":
    run_key_value_command("lmablate.judge", Arguments, judge)
