"""Numbers in, verdicts out: paired statistics, and the claims that they decide.

A claim is a sentence such as "RoPE ends at a lower loss than learned positions". The modules, in the order in which
a measurement becomes a verdict on it:

facts       which runs count, what they cost, and the refusal of runs that cannot be compared
tables      the runs that count, and their measurements
divergence  what a diverged run counts as, by what is read of it
readings    the logged curve of one run -> the one number that arms are compared by
stats       Holm's correction, summaries of a curve
samples     one effect per seed, and the test that each kind of sample allows
contrasts   one measured effect over the seeds, and its three p-values
predicates  the kinds of claim, such as "lower" or "equal": each measures its contrasts on a table of runs
trend_predicates  the kinds of claim about a trend over layers or over the values of a factor
rate_predicates  the kinds of claim about arms that were trained at several learning rates
budgets     an effect over budgets: as a speed-up, and over sizes of the model
budget_predicates  the kinds of claim about arms that were trained with several budgets
claims      a claim, read from its yaml: a text, and the predicates that must all hold
noise       how much a number varies from seed to seed, and which effects that lets one see
unpaired    two groups of runs that are not pairs: Welch's t test
worst_ranks ranks in which a diverged run is the worst, and their exact p-values
rule        the rule that makes verdicts of contrasts, and the error rate that it guarantees
looks       planned looks: seeds added in steps, with the error rate of one test
planning    how many seeds would decide: the predictive probability of a verdict
sentences   a decision in words, with its numbers
verdicts    the verdicts on all claims that a table of runs decides
sequential  claims judged at planned looks, until each is decided or futile
design_predicates  the kinds of claim about the parts of a factorial design
factorial   effects in a factorial design: which part matters most
one_at_a_time  effects of options beside one base
confounds   warnings about differences between arms, besides the factor, that already show at step 0

Start with the docstring of `rule`. This package reads tables and imports neither torch nor Hydra.
"""

from lmablate.evidence.claims import Claim, load_claim, load_claims, parse_claim
from lmablate.evidence.contrasts import Contrast, Difference, Equality
from lmablate.evidence.facts import check_facts
from lmablate.evidence.predicates import PREDICATES, Predicate
from lmablate.evidence.readings import Reading
from lmablate.evidence.rule import Decision, Kind, decide
from lmablate.evidence.samples import PartialSample, RankedSample, Sample, SkewedSample
from lmablate.evidence.stats import (
    holm,
    learning_rate_sensitivity,
    power,
    slope,
    spike_score,
)
from lmablate.evidence.tables import Measured, RunTable
from lmablate.evidence.verdicts import Verdict, judge_claims

__all__ = [
    "PREDICATES",
    "Claim",
    "Contrast",
    "Decision",
    "Difference",
    "Equality",
    "Kind",
    "Measured",
    "PartialSample",
    "Predicate",
    "RankedSample",
    "Reading",
    "RunTable",
    "Sample",
    "SkewedSample",
    "Verdict",
    "check_facts",
    "decide",
    "holm",
    "judge_claims",
    "learning_rate_sensitivity",
    "load_claim",
    "load_claims",
    "parse_claim",
    "power",
    "slope",
    "spike_score",
]
