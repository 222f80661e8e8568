"""What stands on the page, from a simulated study whose truth is known."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lmablate.evidence import Kind, Verdict, evaluate, load_claims, variance_ratio
from lmablate.results.exports import Exported, Metrics
from lmablate.results.report import calibration, page, starts, verdicts
from lmablate.results.report.forest import EDGE, WIDTH, forest
from lmablate.results.report.rates import rate_curves
from lmablate.results.report.study import Study
from tests.results.report.helpers import simulated, write_exports

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module", params=[1, 0, -1], ids=["true", "alike", "false"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = write_exports(simulated(request.param), tmp_path_factory.mktemp("exports"))
    (folder / "warmup.parquet").unlink()  # so that a claim is not run
    return Study.load(folder)


@pytest.fixture(scope="module")
def judged(study: Study) -> list[Verdict]:
    return evaluate(load_claims(CONF / "claim"), study.runs)


def test_every_verdict_has_its_badge_in_the_table(study: Study, judged: list[Verdict]) -> None:
    html = page.render(study, judged, [], calibration.null_tests(study), calibration.pairings(study))
    table = html[html.index('<table class="verdicts">') : html.index('id="trust"')]
    counts = Counter(v.kind for v in judged)
    assert counts[Kind.NOT_RUN] == 1
    assert {kind: table.count(f">{kind}</span>") for kind in counts} == dict(counts)
    assert table.count("<svg") == len(judged) - 1


def test_the_summary_counts_every_claim_once(judged: list[Verdict]) -> None:
    numbers = [int(word) for word in verdicts.summary(judged).replace(";", " ").split() if word.isdigit()]
    assert numbers[0] == len(judged) == sum(numbers[1:])


def test_the_forest_keeps_order_and_stays_inside(judged: list[Verdict]) -> None:
    for verdict in judged:
        drawn = forest(verdict)
        if drawn is None:
            assert verdict.kind == Kind.NOT_RUN
            continue
        ordered = (EDGE, drawn.interval[0], drawn.effect, drawn.interval[1], WIDTH - EDGE)
        assert all(left <= right for left, right in pairwise(ordered))
        assert (drawn.effect > drawn.zero) == (verdict.effect > 0) or abs(drawn.effect - drawn.zero) < 0.01


def test_an_experiment_says_what_its_arms_differ_in(study: Study, judged: list[Verdict]) -> None:
    section = page.section(study.experiments["positional_encoding"], {}, {}, judged)
    assert section.description == "Four position schemes on the vanilla, post-norm model"
    assert [v.claim.id for v in section.verdicts] == ["C07", "C08", "C09", "C10", "C11", "C12"]
    stored = {"warnings": ["a stored warning"], "command": "python -m lmablate.train experiment=x", "scale": "cpu"}
    kept = page.section(study.experiments["positional_encoding"], stored, {}, judged)
    assert (kept.warnings, kept.command, kept.scale) == (["a stored warning"], stored["command"], "cpu")


def test_the_experiments_come_in_the_order_of_the_claims(study: Study) -> None:
    names = list(study.in_order(load_claims(CONF / "claim")))
    assert names[0] == "llama_vs_vanilla_lr"
    assert names[-1] == "aa"
    assert sorted(names) == sorted(study.experiments)


def as_exported(name: str, table: pd.DataFrame, facts: pd.DataFrame) -> Exported:
    arms = table.drop(columns=["experiment", "step", "metric", "value"]).drop_duplicates()
    return Exported(name, Metrics.of(table), facts.merge(arms, on="run"))


def test_no_difference_is_found_where_nothing_differs(study: Study) -> None:
    tests = calibration.null_tests(study)
    assert {t.on_all.sample.n for t in tests} == {20}
    assert {size: n for size, (_, n) in tests[0].families.items()} == {4: 5, 5: 4}
    assert not any(t.kind in calibration.FALSE for t in tests)


def test_a_difference_between_the_arms_of_an_aa_experiment_is_seen() -> None:
    simulation = simulated(0)
    table = simulation.table
    spoilt = (table["experiment"] == "aa") & (table["model.init.salt"] == "b") & (table["metric"] == "val/loss")
    table.loc[spoilt, "value"] += 0.05
    aa = table[table["experiment"] == "aa"].dropna(axis="columns", how="all")
    test = calibration.null_tests(Study({"aa": as_exported("aa", aa, simulation.facts)}))[0]
    assert test.kind in calibration.FALSE
    assert test.families == {4: (5, 5), 5: (4, 4)}


def test_the_variance_ratio_of_two_arms_is_that_of_the_evidence(study: Study) -> None:
    runs = study.experiments["activation_llama"].runs.sort_values("seed")
    a, b = (runs.loc[runs["model/act"] == act, "val/loss"] for act in ("swiglu", "relu"))
    (pairing,) = [p for p in calibration.pairings(study) if p.experiment == "activation_llama"]
    assert (pairing.pairs_of_arms, pairing.seeds) == (1, 5)
    assert pairing.ratio == pytest.approx(variance_ratio(a, b))


LOSSES = {("pre", 1e-3): 3.0, ("pre", 3e-3): 2.0, ("post", 1e-3): 2.5, ("post", 3e-3): 2.9}


def rates(losses: dict[tuple[str, float], float]) -> Exported:
    rows = [(f"r{i}", 0, norm, rate, "done", loss) for i, ((norm, rate), loss) in enumerate(losses.items())]
    runs = pd.DataFrame(rows, columns=["run", "seed", "model/norm", "optim.lr", "state", "val/loss"])
    return Exported("x", Metrics.of(runs[["run"]].assign(step=0, metric="init/loss", value=7.0)), runs)


def test_a_ranking_that_depends_on_the_rate_is_said_to_flip() -> None:
    curves = rate_curves(rates(LOSSES))
    assert curves is not None
    assert curves.best == {"pre-norm": 3e-3, "post-norm": 1e-3}
    assert curves.sentence == (
        "The ranking flips. With each arm at its best it is pre-norm (at 0.003) before post-norm (at 0.001); "
        "at 0.001 it is post-norm before pre-norm."
    )
    assert curves.sensitivity == pytest.approx({"pre-norm": 0.5, "post-norm": 0.2})


def test_a_ranking_that_does_not_is_said_to_stay() -> None:
    curves = rate_curves(rates(LOSSES | {("pre", 1e-3): 2.4}))
    assert curves is not None
    assert curves.sentence.startswith("The ranking is the same at every common rate")


def test_a_start_above_ln_v_is_found_in_the_exports() -> None:
    simulation = simulated(0, pairs=3)
    for init, loss in (("cs336", 190.0), ("scaled", 7.0)):
        log = simulation.add("bad", 0, {"model/init": init})
        log("init/loss", loss, [0])
        log("init/loss_over_uniform", loss - 6.9, [0])
        log("grad_norm", [loss, 1.0], [0, 1])
        log("clipped", [1.0, 0.0], [0, 1])
        log("grad_norm_clipped", [1.0, 1.0], [0, 1])
    table = simulation.table[simulation.table["experiment"] == "bad"].dropna(axis="columns", how="all")
    bad = as_exported("bad", table, simulation.facts.assign(parameters=1.0, flops_per_token=1.0, error=""))
    said = starts.warnings(bad)
    assert any("init cs336 starts at 190.0 nats, 183.1 above ln V = 6.9" in warning for warning in said)
    assert any("gradient of norm 190.0 at step 0, clipped to 1" in warning for warning in said)
    assert not any("parameters" in warning for warning in said)


def swept(experiment: str) -> dict[str, str]:
    """What an experiment sweeps over, its own parameters and those of the experiments that it is based on."""
    raw = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())
    params: dict[str, str] = {}
    for base in raw.get("defaults", []):
        if isinstance(base, str):
            params |= swept(base)
    return params | raw.get("hydra", {}).get("sweeper", {}).get("params", {})


def test_every_claim_selects_arms_that_its_experiment_trains() -> None:
    for claim in load_claims(CONF / "claim"):
        for predicate in claim.all_of:
            params = swept(predicate.experiment)
            arms = [getattr(predicate, key, None) or {} for key in ("arm", "better", "worse", "one", "other")]
            for arm in [*arms, *getattr(predicate, "others", [])]:
                for factor, level in arm.items():
                    options = [option.strip("\"' ") for option in params[factor].split(",")]
                    assert level in options, f"{claim.id}: {predicate.experiment} has no {factor}={level}"
            assert getattr(predicate, "factor", "seed") in params


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "+0.0123"), (-1.0, "−1.00"), (123.4, "+123"), (1e-7, "+1.00·10^-7".replace("-7", "−7")),
        (float("inf"), "∞"), (float("-inf"), "−∞"), (float("nan"), ""),
    ],
)  # fmt: skip
def test_numbers_have_three_digits_and_a_true_minus(value: float, text: str) -> None:
    assert verdicts.number(value) == text
