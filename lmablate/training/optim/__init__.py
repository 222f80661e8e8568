"""The optimizers, how parameters decay, averages of the weights, and gradient clipping.

base      what all optimizers share: groups, gradients, state, checks; start here
decay     how much a parameter decays in a step
average   averages of the weights over the steps
adamw     AdamW, and the same step for one tensor as the paper writes it
muon      momentum, orthogonalised, for the matrices of the blocks
lion      the sign of a momentum
sgd       gradient descent with momentum
adopt     Adam whose second moment is one step behind
soap      Adam in the eigenbasis of Shampoo
clipping  norms of gradients, and clipping
"""

from lmablate.training.optim.adamw import AdamW, adamw_update
from lmablate.training.optim.adopt import ADOPT
from lmablate.training.optim.average import EMA, NoAverage
from lmablate.training.optim.base import Optimizer, decay_groups
from lmablate.training.optim.clipping import clip_grad_norm_, clip_scale, grad_norms
from lmablate.training.optim.decay import Cautious, Decoupled, Independent
from lmablate.training.optim.lion import Lion
from lmablate.training.optim.muon import Muon, orthogonalised
from lmablate.training.optim.sgd import SGD
from lmablate.training.optim.soap import SOAP

__all__ = [
    "ADOPT", "EMA", "SGD", "SOAP", "AdamW", "Cautious", "Decoupled", "Independent", "Lion", "Muon", "NoAverage",
    "Optimizer", "adamw_update", "clip_grad_norm_", "clip_scale", "decay_groups", "grad_norms", "orthogonalised",
]  # fmt: skip
