"""Numbers in, verdicts out: paired statistics, and the claims that they decide."""

from lmablate.evidence.claims import Claim, load_claim, load_claims
from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.predicates import PREDICATES, Predicate
from lmablate.evidence.readings import Reading
from lmablate.evidence.stats import (
    Sample,
    compare_late_slopes,
    holm,
    late_slope,
    learning_rate_sensitivity,
    power,
    seeds_needed,
    seeds_needed_for_equivalence,
    slope,
    spike_score,
    variance_ratio,
)
from lmablate.evidence.tables import Measured, RunTable, check_facts
from lmablate.evidence.verdicts import Decision, Kind, Verdict, decide, evaluate

__all__ = [
    "PREDICATES",
    "Claim",
    "Contrast",
    "Decision",
    "Difference",
    "Equality",
    "Kind",
    "Measured",
    "Predicate",
    "Reading",
    "RunTable",
    "Sample",
    "Verdict",
    "check_facts",
    "compare_late_slopes",
    "decide",
    "evaluate",
    "holm",
    "late_slope",
    "learning_rate_sensitivity",
    "load_claim",
    "load_claims",
    "power",
    "seeds_needed",
    "seeds_needed_for_equivalence",
    "slope",
    "spike_score",
    "variance_ratio",
]
