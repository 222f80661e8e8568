"""Mirrors of a run's metrics. The rows are in metrics.jsonl in any case, so a mirror may fail without harm.

tracker           what every tracker does, and the guard around each
wandb_run         wandb, online or offline
tensorboard_log   TensorBoard
several           several trackers at once
"""

from lmablate.training.tracking.several import Several
from lmablate.training.tracking.tensorboard_log import TensorBoard
from lmablate.training.tracking.tracker import Guarded, NoTracking
from lmablate.training.tracking.wandb_run import Wandb

__all__ = ["Guarded", "NoTracking", "Several", "TensorBoard", "Wandb"]
