"""From exports and claims to verdicts, and a page that shows them. Tables in, no torch."""

from lmablate.results.report.study import Study

__all__ = ["Study"]
