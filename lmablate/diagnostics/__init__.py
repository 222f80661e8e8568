"""Probes: small measurements taken while a model trains. One file each; a config of probes is a diagnostics level."""

from lmablate.diagnostics.probe import Moment, Probe

__all__ = ["Moment", "Probe"]
