"""Train seeds until the claims are decided: `python -m lmablate.decide experiment=NAME [overrides of train]`.

At each planned look the seeds so far are judged, corrected for all looks. What is decided or hopeless stops, and only
arms that an open claim needs get more seeds. The plan and all p-values are kept in RUNS_DIR/decide/NAME. The same
command goes on where it was stopped. The exit code is 0 if no claim is open, and 4 if one is.

  python -m lmablate.decide experiment=norm_location looks=4,8,16,32 budget=6h
      the claims about norm_location, with 4 to 32 seeds per arm, and at most 6 hours of training in all
  python -m lmablate.decide experiment=activation,weight_tying claims=conf/claim scale=cpu
      the claims about two experiments, as one family; claims=FOLDER stands for those of the project
  python -m lmablate.decide -m model/norm=pre,post name=mine looks=4,8 first_seed=100 claims=my_claims
      a sweep typed by hand, with the seeds from 100 on
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from lmablate.config.command_line import take_own_arguments
from lmablate.config.hydra_entry import run_override_command
from lmablate.config.project import claims_folder
from lmablate.errors import UserError
from lmablate.evidence.claims import load_claims
from lmablate.evidence.looks import LookPlan
from lmablate.evidence.sequential import ClaimState, Standing
from lmablate.evidence.tables import RunTable
from lmablate.files import Busy, locked, user_path
from lmablate.results.report.study import Study
from lmablate.sweep.deciding import SeedTrainer, begin_looks, choose_claims
from lmablate.sweep.growing import GrowingSweep

OWN = {"experiment": "", "claims": "", "looks": "4,8,16,32", "budget": "", "first_seed": "0"}
UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86_400}
OPEN = 4


def decide(arguments: list[str]) -> None:
    """Train and judge look by look, print each, and end with the exit code."""
    own, overrides = take_own_arguments(arguments, OWN)
    plan, budget, first = _plan(own["looks"]), _seconds(own["budget"]), _whole("first_seed", own["first_seed"])
    claims = load_claims(user_path("claims", own["claims"]) if own["claims"] else claims_folder())
    chosen = [[f"experiment={name}"] for name in own["experiment"].split(",")] if own["experiment"] else [[]]
    grown = [GrowingSweep.of([*own_part, *overrides], range(first, first + plan.last)) for own_part in chosen]
    sweeps = {sweep.name: sweep for sweep in grown}
    if len(sweeps) < len(grown):
        raise UserError(f"experiment={own['experiment']} is not allowed with one name for all: give each its own name.")
    claims = choose_claims(claims, sweeps)
    runs_dir = next(iter(grown[0].runs.values())).folder.parent
    folder = runs_dir / "decide" / "+".join(sweeps)

    def read_runs(ids: Mapping[str, Collection[str]]) -> RunTable:
        return Study.of_runs(runs_dir, ids).run_table

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", timeout=0):
            trainer = SeedTrainer(sweeps, claims, begin_looks(folder, plan, sweeps, claims), first, budget, read_runs)
            standings: Sequence[Standing] = ()
            for look in trainer.looks():
                print("\n".join(look.lines()), flush=True)
                standings = look.standings
    except Busy:
        raise UserError(f"{folder} is in use: another command decides these claims now.") from None
    counts = Counter(standing.progress for standing in standings)
    print(", ".join(f"{counts[progress]} {progress}" for progress in ClaimState if counts[progress]))
    sys.exit(OPEN if counts[ClaimState.OPEN] + counts[ClaimState.NOT_RUN] else 0)


def _plan(looks: str) -> LookPlan:
    if not re.fullmatch(r"\d{1,6}(,\d{1,6})*", looks):
        raise UserError(f"looks={looks} is not allowed: it must be ascending numbers from 2, such as 4,8,16.")
    return LookPlan(tuple(map(int, looks.split(","))))


def _seconds(budget: str) -> float | None:
    found = re.fullmatch(rf"(\d{{1,9}}(?:\.\d{{1,9}})?)({'|'.join(UNITS)})", budget)
    if budget and not found:
        raise UserError(f"budget={budget} is not allowed: it must be a time such as 6h, 30min or 90s.")
    return float(found[1]) * UNITS[found[2]] if found else None


def _whole(key: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise UserError(f"{key}={text} is not allowed: it must be a whole number from 0 on.")
    return int(text)


if __name__ == "__main__":
    run_override_command(decide)
