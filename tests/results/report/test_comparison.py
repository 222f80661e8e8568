"""The arms of an experiment, compared with one of them."""

import csv
import io
import re

import numpy as np
import pytest
from scipy import stats

from lmablate.errors import UserError
from lmablate.results.exports import Exported, Thinning, load_exported, write_tables
from lmablate.results.report.comparison import Comparison, compare, is_result_of, latex_text
from tests.results.plots.scenes import NAMES, a_run

RNG = np.random.default_rng(0)
LOSSES = {("rope", 1e-3): RNG.normal(4, 0.1, 5), ("nope", 1e-3): RNG.normal(5, 0.1, 5), ("nope", 0.1): [4.5, 4.6]}


def exported(folder, runs) -> Exported:
    write_tables(runs, "x", folder, Thinning(digits=12), "none")
    return load_exported(folder, "x")


def constant(loss: float):
    return lambda step: float(loss)


def arm_runs(pos: str, lr: float, losses, **more):
    factors = {"model/pos": pos, "optim.lr": lr}
    return [
        a_run(f"{pos}{lr}s{seed}", factors=factors, seed=seed, values=constant(loss), **more)
        for seed, loss in enumerate(losses)
    ]


@pytest.fixture
def data(tmp_path) -> Exported:
    return exported(tmp_path, [run for arm, losses in LOSSES.items() for run in arm_runs(*arm, losses)])


def compared(data: Exported, reference: str | None = None) -> Comparison:
    found = compare(data, reference)
    assert found is not None
    return found


def test_means_and_paired_differences_are_those_of_scipy(data):
    comparison = compared(data, "model/pos=rope, optim.lr=0.001")
    rows = {arm.typed: arm for arm in comparison.arms}
    assert [arm.losses.n for arm in comparison.arms] == [5, 2, 5]  # the lowest loss first
    assert rows["model/pos=rope, optim.lr=0.001"].difference is None
    for pos, lr in (("nope", 1e-3), ("nope", 0.1)):
        arm, losses = rows[f"model/pos={pos}, optim.lr={lr}"], np.array(LOSSES[pos, lr])
        assert (arm.losses.mean, arm.losses.sd) == pytest.approx((losses.mean(), losses.std(ddof=1)))
        expected = stats.ttest_rel(losses, LOSSES["rope", 1e-3][: len(losses)])
        assert arm.difference is not None
        assert arm.difference.interval(0.95) == pytest.approx(expected.confidence_interval(0.95))
        assert arm.difference.n == len(losses)


# What a user may type, and the arm that is meant: (model/pos, optim.lr).
REFERENCES = [
    (None, "rope", 0.001),
    ("model/pos=rope,optim.lr=0.001", "rope", 0.001),
    ("model/pos=rope, optim.lr=1e-3", "rope", 0.001),
    ("pos=nope,optim.lr=.1", "nope", 0.1),
    ("nope,0.1", "nope", 0.1),
    ("nope, 1e-1", "nope", 0.1),
    ("NOPE,0.10", "nope", 0.1),
    ("RoPE, lr 0.001", "rope", 0.001),
    ("none (nope), lr 0.1", "nope", 0.1),
]


@pytest.mark.parametrize(("typed", "pos", "lr"), REFERENCES)
def test_a_reference_may_be_typed_or_named_as_it_is_shown(data, typed, pos, lr):
    (reference,) = [arm for arm in compared(data, typed).arms if arm.difference is None]
    assert reference.typed == f"model/pos={pos}, optim.lr={lr}"


@pytest.mark.parametrize(
    "typed", ["", "rope", "sin,0.001", "model/pos=rope", "nope", "rope,0.2", ",", "=", "a=b", "\x1b"]
)
def test_another_reference_is_refused_with_the_arms(data, typed):
    with pytest.raises(UserError, match=r"is no arm .* of x: name one of .*model/pos=nope, optim.lr=0.1") as error:
        compare(data, typed)
    assert len(str(error.value).splitlines()) == 1


def test_only_finished_runs_with_a_finite_loss_count(tmp_path):
    runs = [*arm_runs("rope", 0.1, [4.0, np.inf, 4.5]), *arm_runs("nope", 0.1, [5.0, 5.5, 5.6])]
    runs += arm_runs("sin", 0.1, [3.0], state="failed")
    comparison = compared(exported(tmp_path, runs))
    assert {arm.name.split(",")[0]: arm.losses.n for arm in comparison.arms} == {"RoPE": 2, "none (NoPE)": 3}
    assert [arm.difference.n for arm in comparison.arms if arm.difference] == [2]


def test_without_a_finished_run_there_is_no_table(tmp_path):
    data = exported(tmp_path, arm_runs("rope", 0.1, [4.0], state="running"))
    assert compare(data) is None
    with pytest.raises(UserError, match="reference=rope has no finished run"):
        compare(data, "rope")


def test_one_seed_and_arms_without_a_common_seed_have_no_interval(tmp_path):
    runs = [*arm_runs("rope", 0.1, [4.0]), *arm_runs("nope", 0.1, [5.0])]
    runs.append(a_run("other", factors={"model/pos": "sin", "optim.lr": 0.1}, seed=7, values=constant(6.0)))
    cells = [arm.cells() for arm in compared(exported(tmp_path, runs)).arms]
    assert cells == [
        ("RoPE", "1", "4.0000", "", "", ""),
        ("none (NoPE)", "1", "5.0000", "1", "+1.00", ""),
        ("sinusoidal", "1", "6.0000", "", "", ""),
    ]


def test_the_files_hold_the_same_numbers(data):
    comparison = compared(data)
    table = list(csv.DictReader(io.StringIO(comparison.as_csv())))
    assert [float(row["mean"]) for row in table] == pytest.approx(
        [arm.losses.mean for arm in comparison.arms], rel=1e-5
    )
    assert {row["reference"] for row in table} == {comparison.reference}
    for row, arm in zip(table, comparison.arms, strict=True):
        for text in (comparison.as_markdown(), comparison.as_latex()):
            assert f"{arm.losses.mean:.4f}" in text
        if arm.difference:
            assert (float(row["low"]), float(row["high"])) == pytest.approx(arm.difference.interval(0.95), rel=1e-5)


LATEX = [
    ("a_b", r"a\_b"), ("50%", r"50\%"), ("a&b", r"a\&b"), ("$x$", r"\$x\$"), ("#1", r"\#1"), ("{x}", r"\{x\}"),
    ("\\x", r"\textbackslash{}x"), ("~", r"\textasciitilde{}"), ("x^2", r"x\textasciicircum{}2"), ("−1", "$-$1"),
    ("1 ± 2", r"1 $\pm$ 2"), ("+1.20·10^−5", r"+1.20$\cdot 10^{-5}$"), ("−∞", r"$-$$\infty$"), ("<b>", "$<$b$>$"),
    ("1.2·10^12", r"1.2$\cdot 10^{12}$"), ("RoPE", "RoPE"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "latex"), LATEX)
def test_latex_prints_any_text_as_it_is(text, latex):
    assert latex_text(text) == latex


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_every_file(tmp_path, name):
    runs = [
        a_run(f"r{seed}{i}", factors={"variant": level}, seed=seed, values=constant(4.0 + i + seed))
        for i, level in enumerate((name, "other"))
        for seed in range(2)
    ]
    comparison = compared(exported(tmp_path, runs), name if "," not in name else None)
    table = list(csv.DictReader(io.StringIO(comparison.as_csv())))
    assert {row["n"] for row in table} == {"2"}
    rows = [line for line in comparison.as_markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    body = [line for line in comparison.as_latex().splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {5}


def test_a_file_is_known_by_its_experiment(data, tmp_path):
    comparison = compared(data)
    for ending, text in zip((".csv", ".md", ".tex"), comparison.texts(), strict=True):
        path = tmp_path / f"page{ending}"
        path.write_text(text)
        assert is_result_of(path, "x")
        assert not is_result_of(path, "y")
        for foreign in ("", "a note\n", text[5:], "\n" + text):
            path.write_text(foreign)
            assert not is_result_of(path, "x")
        path.write_bytes(b"\xff\xfe\x00")
        assert not is_result_of(path, "x")
