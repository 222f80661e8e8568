"""The noise floor of one command: how much its metric varies, and which effects can be seen above that."""

import math
from pathlib import Path

from lmablate.errors import UserError, duration
from lmablate.evidence.noise import sd_interval, smallest_effect
from lmablate.referee.arms import make_arm
from lmablate.referee.compare import open_workers
from lmablate.referee.ledger import Outcome, Request, State, first_failures
from lmablate.referee.options import Options
from lmablate.referee.report import FAILED, ArmSummary, Report, mean_and_sd, shown, table_lines
from lmablate.referee.snapshot import freeze

# Seeds per arm for which the smallest effect is given.
_NUMBERS = (2, 4, 8, 16, 32)


def measure_noise(options: Options) -> Report:
    """Run one command on n seeds, and several times on the first of them."""
    arm = make_arm("aa", options.aa or "", options.shell)
    _ = options.reading
    (arm,) = freeze([arm], Path.cwd(), options.out, options.code_paths)
    workers = open_workers(options)
    seeds = [Request(arm, seed) for seed in range(options.first_seed, options.first_seed + options.n)]
    repeats = [Request(arm, options.first_seed, repeat) for repeat in range(options.repeats)]
    outcomes = workers.run([*seeds, *repeats])
    summary = ArmSummary.of(arm, list(outcomes.values()))
    if failures := list(first_failures(outcomes)):
        return Report("runs failed", FAILED, failures, {"failures": failures})
    return _report(options, summary, [outcomes[request] for request in seeds], [outcomes[r] for r in repeats])


def _report(options: Options, summary: ArmSummary, seeds: list[Outcome], repeats: list[Outcome]) -> Report:
    values = [outcome.value for outcome in seeds if outcome.state == State.DONE]
    repeated = [outcome.value for outcome in repeats if outcome.state == State.DONE]
    diverged = len(seeds) - len(values)
    if len(values) < 2:
        raise UserError(f"{diverged} of {len(seeds)} seeds diverged: there is no spread to be measured.")
    (mean, sd), (_, repeat_sd) = mean_and_sd(values), mean_and_sd(repeated)
    low, high = sd_interval(sd, len(values))
    lines = [
        f"Mean over {len(values)} seeds: {shown(mean)}.",
        f"Spread between seeds (standard deviation): {shown(sd)}, {shown(low)} to {shown(high)} at 95 %.",
        _repetitions(len(repeated), repeat_sd, sd),
    ]
    if diverged:
        lines.append(f"{diverged} of {len(seeds)} seeds diverged, and are in none of these numbers.")
    if sd == 0:
        lines.append("All seeds gave the same value: the seed has no effect, or the metric is saturated.")
        return Report("the seed has no effect", FAILED, lines, {"mean": mean, "sd": sd})
    effects = [(n, smallest_effect(math.sqrt(2) * sd, n, options.alpha)) for n in _NUMBERS]
    rows = [
        [str(n), shown(effect), duration(2 * n * summary.seconds / options.jobs)] for n, effect in effects
    ]  # two arms
    lines += ["", *table_lines(["seeds per arm", "smallest effect seen", "time of both arms"], rows), ""]
    lines.append(
        f"An effect is seen if a two-sided test at {options.alpha:g} finds it in 80 % of comparisons of that size. "
        "Pairs of runs with one seed may vary less than is assumed here. A difference below the spread between seeds, "
        "found in one run each, is noise."
    )
    facts = {
        "command": summary.command, "mean": mean, "sd": sd, "sd_low": low, "sd_high": high, "seeds": len(values),
        "repeats": len(repeated), "repeat_sd": repeat_sd, "deterministic": repeat_sd == 0, "diverged": diverged,
        "seconds": summary.seconds, "smallest_effects": dict(effects),
    }  # fmt: skip
    return Report(f"sd {shown(sd)}", 0, lines, facts)


def _repetitions(repeats: int, repeat_sd: float, sd: float) -> str:
    if repeats < 2:
        return "The first seed was run once, so it is not known whether the command is deterministic."
    if repeat_sd == 0:
        return f"{repeats} runs of the first seed gave the same value to the last digit: the command is deterministic."
    share = f", {100 * min(1.0, (repeat_sd / sd) ** 2):.0f} % of the variance between seeds" if sd > 0 else ""
    return (
        f"{repeats} runs of the first seed have a spread of {shown(repeat_sd)}{share}: the command is not "
        "deterministic, and pairs of seeds cannot take that away."
    )
