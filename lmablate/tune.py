"""Tune each arm by a pilot, and write the values to a file: `python -m lmablate.tune [overrides of train]`.

Every arm of the sweep gets the same number of trials, with seeds that the sweep does not use. tuned=NAME then gives
each arm its own values. Finished runs are not run again, so an interrupted pilot goes on with the same command.

  python -m lmablate.tune experiment=norm_location
      the learning rate of pre-norm and of post-norm, 8 trials each
  python -m lmablate.train experiment=norm_location tuned=norm_location
      the sweep, each arm with the learning rate that the pilot found for it
  python -m lmablate.tune experiment=norm_location keys=optim.lr,optim.weight_decay trials=12
      two values at once; keys are optim.lr, optim.weight_decay and optim.warmup_steps
  python -m lmablate.tune -m optim=adamw,muon name=muon pilot_seeds=7,8,9 out=conf/tuned/muon.yaml
      a sweep typed by hand, three pilot seeds, and the file; overwrite=true replaces an older one
"""

import re
from datetime import date
from functools import partial
from pathlib import Path

import yaml

from lmablate.config.command_line import take_own_arguments
from lmablate.config.hydra_entry import run_override_command
from lmablate.config.project import conf_folders
from lmablate.config.schema import CONF
from lmablate.config.tuned import TUNABLE
from lmablate.errors import UserError
from lmablate.files import atomic_write, checked_experiment, refuse_foreign, user_path
from lmablate.sweep.jobs import expand_sweep
from lmablate.sweep.tuning import is_tuned_file, tune_arms, tuned_file

OWN = {"keys": "optim.lr", "trials": "8", "pilot_seeds": "1000,1001", "out": "", "overwrite": "false"}


def tune(arguments: list[str]) -> None:
    """Run the pilot, print each arm's best values, and write them."""
    own, arguments = take_own_arguments(arguments, OWN)
    keys, seeds = own["keys"].split(","), [_whole("pilot_seeds", seed, 0) for seed in own["pilot_seeds"].split(",")]
    for key in keys:
        if key not in TUNABLE:
            raise UserError(f"keys={own['keys']} is not allowed: choose from {', '.join(TUNABLE)}.")
    if len({*keys}) < len(keys) or len({*seeds}) < len(seeds):
        raise UserError(f"keys={own['keys']} pilot_seeds={own['pilot_seeds']}: one of them is given twice.")
    trials = _whole("trials", own["trials"], 2)
    if own["overwrite"] not in ("true", "false"):
        raise UserError(f"overwrite={own['overwrite']} is not allowed: it must be true or false.")
    sweep = expand_sweep(arguments)
    name = checked_experiment("name", sweep.jobs[0].cfg.name)
    out = user_path("out", own["out"]) if own["out"] else _default_file(name)
    is_ours = partial(is_tuned_file, arms=sweep.arms)
    refuse_foreign("out", [out], is_ours, "a file of values tuned for these arms", own["overwrite"] == "true")
    arms = tune_arms(arguments, keys, trials, seeds)
    shown = [argument for argument in arguments if not argument.startswith(("runs_dir=", "data_dir="))]
    typed = [f"{key}={own[key]}" for key in ("keys", "trials", "pilot_seeds")]
    content = tuned_file(arms, seeds, " ".join(["python -m lmablate.tune", *shown, *typed]), date.today().isoformat())
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as part:
        part.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")
    for arm in content["arms"]:
        values = ", ".join(f"{key}={value}" for key, value in arm["values"].items())
        edge = "; not all sides of it were tried: give more trials" if arm["at_edge"] else ""
        print(f"{arm['arm']}: {values}, val/loss {arm['loss']:.4f}{edge}")
    print(f"wrote {out}; use it with tuned={out.stem}")


def _whole(key: str, text: str, least: int) -> int:
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
        raise UserError(f"{key}={text} is not allowed: it must be a whole number from {least} on.")
    return int(text)


def _default_file(name: str) -> Path:
    """Return the file in the folder of yaml files: the user's own, or that of a checkout of lmablate."""
    folder = conf_folders()[0]
    if folder == CONF and not (CONF.parent / "pyproject.toml").is_file():
        raise UserError("out is needed, because there is no project here: out=FILE.yaml, or `lmablate new`.")
    return folder / "tuned" / f"{name}.yaml"


if __name__ == "__main__":
    run_override_command(tune)
