"""Probes: small measurements taken while a model trains. Each has a file of its own; conf/diagnostics lists them.

probe           what a probe is, and what it may look at
start           loss and scales at step 0
grad_norms      the size of the gradient, in all and per layer; how often it is clipped
residual        how much each layer changes the residual stream
dropped_layers  how much the loss rises without a layer
dead_units      MLP units that no token activates
tied_gradient   the two parts of a tied matrix's gradient
coordinates     the size of activations, to compare widths
position_loss   the loss by position, inside the training context and beyond it

The configs name each probe by its module, `lmablate.diagnostics.grad_norms.GradNorms`. Run ids hash these strings: if a
probe moved, the runs that name it would be lost (tests/runs/test_ids.py).
"""

from lmablate.diagnostics.probe import Probe, ProbeContext

__all__ = ["Probe", "ProbeContext"]
