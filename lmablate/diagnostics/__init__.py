"""Probes: small measurements taken while a model trains. One file each; conf/diagnostics lists them."""

from lmablate.diagnostics.probe import Moment, Probe

__all__ = ["Moment", "Probe"]
