"""The page shows each verdict once, and each experiment with its claims and confounds."""

from collections import Counter

from lmablate.evidence import Kind, Verdict
from lmablate.results.report.calibration import null_tests, pairings
from lmablate.results.report.page import make_section, render_page
from lmablate.results.report.study import Study


def test_every_verdict_has_its_badge_in_the_table(study: Study, verdicts: list[Verdict]) -> None:
    html = render_page(study, verdicts, [], null_tests(study), pairings(study))
    table = html[html.index('<table class="verdicts">') : html.index('id="trust"')]
    counts = Counter(v.kind for v in verdicts)
    assert counts[Kind.NOT_RUN] == 1
    assert {kind: table.count(f">{kind}</span>") for kind in counts} == dict(counts)
    chances = sum(bool(verdict.chances) for verdict in verdicts)
    assert table.count('<svg class="forest chances"') == chances
    assert table.count("<svg") == len(verdicts) - 1 + chances


def test_a_section_has_its_claims_and_the_findings_of_a_stored_audit(study: Study, verdicts: list[Verdict]) -> None:
    section = make_section(study.experiments["positional_encoding"], {}, (), verdicts)
    assert section.description == "Four position schemes on the vanilla, post-norm model"
    assert [v.claim.id for v in section.verdicts] == ["C07", "C08", "C09", "C10", "C11", "C12"]
    stored = {"warnings": ["a stored warning"], "command": "python -m lmablate.train experiment=x", "scale": "cpu"}
    kept = make_section(study.experiments["positional_encoding"], stored, (), verdicts)
    assert (kept.confounds, kept.command, kept.scale) == (["a stored warning"], stored["command"], "cpu")
