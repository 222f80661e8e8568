"""Find each arm's own best learning rate: `python -m lmablate.lr_sweep [overrides of train]`.

Every arm of the sweep is trained over the scale's grid of rates (scale.lrs), under the name NAME_lr. While an arm's
best rate lies on the edge of its grid, the grid is extended beyond that edge. Finished runs are skipped.

  python -m lmablate.lr_sweep experiment=norm_location
      pre-norm and post-norm, each over the grid
  python -m lmablate.lr_sweep -m model/act=relu,swiglu seed=0,1
      two activations, two seeds at each rate
  python -m lmablate.plan experiment=norm_location +lr_sweep=true
      what the first round would cost
"""

from lmablate.config.hydra_entry import run_override_command
from lmablate.sweep.lr_search import MAX_ROUNDS, RATE, search_learning_rates


def lr_sweep(arguments: list[str]) -> None:
    """Train the arms over their grids, and print the best rate of each."""
    for best in search_learning_rates(arguments):
        edge = f", still on the edge of its grid after {MAX_ROUNDS} extensions" if best.at_edge else ""
        print(f"{best.arm}: best {RATE}={best.rate:g}, val/loss {best.loss:.4f}{edge}")


if __name__ == "__main__":
    run_override_command(lr_sweep)
