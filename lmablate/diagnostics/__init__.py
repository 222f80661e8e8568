"""Probes: small measurements taken while a model trains. One file each; conf/diagnostics lists them.

The configs name each probe by its module, `lmablate.diagnostics.grad_norms.GradNorms`, and run ids hash these strings:
a probe that moved would orphan every run that names it (tests/runs/test_ids.py).
"""

from lmablate.diagnostics.probe import Probe, ProbeContext

__all__ = ["Probe", "ProbeContext"]
