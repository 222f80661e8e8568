"""Results that exist already: pairs or groups, and a warning where seeds were added until it looked good."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.referee.helpers import judge

RNG = np.random.default_rng(1)
SHARED, OWN = RNG.normal(0, 1, 10), RNG.normal(0, 0.1, (3, 10))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(path: Path, a: list[float], b: list[float], seeds: bool = True) -> None:
    rows = [f"{arm},{seed},{value}" for arm, values in (("x", a), ("y", b)) for seed, value in enumerate(values)]
    if not seeds:
        rows = [row.split(",")[0] + "," + row.split(",")[2] for row in rows]
    path.write_text("\n".join(["arm,seed,loss" if seeds else "arm,loss", *rows]) + "\n")


def read_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_runs_of_one_seed_are_pairs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = list(SHARED + OWN[0]), list(SHARED + OWN[1] + 0.2)
    write_table(here / "t.csv", a, b)
    assert judge("table=t.csv", "metric=loss", "format=json") == 0
    found = read_json(capsys)
    (comparison,) = found["comparisons"]
    assert comparison["p"]["better"] == pytest.approx(stats.ttest_rel(a, b)[1])
    assert "by pairs of one seed" in found["notes"][0]
    assert judge("table=t.csv", "metric=loss", "paired=false", "format=json") == 4
    unpaired = read_json(capsys)["comparisons"][0]
    assert unpaired["p"]["better"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False)[1])


def test_runs_without_seeds_are_groups(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = list(OWN[0] + 0.5), list(OWN[1][:6])
    write_table(here / "t.csv", a, b, seeds=False)
    assert judge("table=t.csv", "metric=loss", "better=lower", "format=json") == 5
    found = read_json(capsys)
    assert found["comparisons"][0]["p"]["worse"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False)[1])
    assert found["notes"] == [
        "x and y are compared as two groups (Welch).",
        "x has 10 runs and y 6: why did one of them get more?",
    ]


def test_seeds_added_until_it_looked_good_are_noticed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of null results, in which seeds were added until p <= .05, most get the warning, and few fixed ones do."""
    rng, warned, stopped, false_alarms, fixed = np.random.default_rng(3), 0, 0, 0, 0
    for _ in range(40):
        a, b = rng.normal(0, 1, (2, 60))
        n = next((n for n in range(4, 61) if stats.ttest_rel(a[:n], b[:n])[1] <= 0.05), None)
        if n is not None and n > 4:
            write_table(here / "t.csv", list(a[:n]), list(b[:n]))
            judge("table=t.csv", "metric=loss")
            warned += "Warning: x and y differ at 0.05 only with the last" in capsys.readouterr().out
            stopped += 1
        write_table(here / "t.csv", list(a[:16]), list(b[:16] + 1.5))
        judge("table=t.csv", "metric=loss")
        false_alarms += "Warning" in capsys.readouterr().out
        fixed += 1
    assert stopped >= 5
    assert warned == stopped
    assert false_alarms <= 0.1 * fixed


def test_the_looks_that_were_made_can_be_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = list(SHARED[:8] + OWN[0][:8]), list(SHARED[:8] + OWN[1][:8] + 0.2)
    write_table(here / "t.csv", a, b)
    assert judge("table=t.csv", "metric=loss", "looks=4,8", "format=json") == 0
    p = read_json(capsys)["comparisons"][0]["p"]["better"]
    assert p == pytest.approx(2 * min(stats.ttest_rel(a[:n], b[:n])[1] for n in (4, 8)))


@pytest.mark.parametrize("seeds", [True, False])
def test_diverged_runs_are_the_worst(seeds: bool, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(
        here / "t.csv", [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6], [2.0, float("nan"), float("inf")] + [1.9] * 4, seeds
    )
    assert judge("table=t.csv", "metric=loss") == 0
    assert "0 of x and 2 of y diverged" in capsys.readouterr().out


def test_a_table_of_wandb_has_other_columns(here: Path) -> None:
    rows = [
        f'"{arm}-{seed}","{arm}",{seed},{3 + seed / 100 + (arm == "post")}'
        for arm in ("pre", "post")
        for seed in range(4)
    ]
    rows = [row[:-1] + str(i) for i, row in enumerate(rows)]
    (here / "t.csv").write_text('"Name","model.norm","seed","val/loss"\n' + "\n".join(rows) + "\n")
    assert judge("table=t.csv", "metric=val/loss", "arm=model.norm") == 0


def test_folders_of_tensorboard_are_read(here: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for arm, base in (("pre", 3.0), ("post", 4.0)):
        for seed in range(3):
            writer = SummaryWriter(str(here / "tb" / f"{arm}_seed{seed}"))
            for step, value in ((1, 9.0), (2, base + [0.01, 0.03, 0.02][seed] * base)):
                writer.add_scalar("val/loss", value, step)
            writer.close()
    assert judge("table=tb", "metric=val/loss") == 5  # the first folder is that of post


@pytest.mark.slow
def test_offline_runs_of_wandb_are_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    for arm, base in (("pre", 3.0), ("post", 4.0)):
        for seed in range(3):
            run = wandb.init(mode="offline", dir=str(here), project="x", config={"norm": arm, "seed": seed})
            run.log({"val/loss": 9.0})
            run.log({"val/loss": base + [0.01, 0.03, 0.02][seed] * base})
            run.finish()
    assert judge("table=wandb", "metric=val/loss", "arm=norm") == 0


TABLE = "arm,seed,loss\nx,0,1\nx,1,2\ny,0,3\ny,1,4.5\n"
REFUSED = [
    (TABLE, ["metric=lss"], "metric=lss is not allowed: t.csv has no column lss; it has arm, seed, loss"),
    (TABLE, [], "metric=... is missing"),
    (TABLE, ["metric=loss", "arm=norm"], "arm=norm is not allowed: t.csv has no column norm"),
    (TABLE, ["metric=loss", "seed=s"], "seed=s is not allowed"),
    (TABLE, ["metric=loss", "looks=4"], "x and y have 2 runs, which is no look"),
    (TABLE, ["metric=loss", "jobs=2"], "jobs=2 is of no use here"),
    (TABLE + "x,0,9\n", ["metric=loss"], "line 6 is a second run of x with the seed 0"),
    (TABLE + "x,2\n", ["metric=loss"], "line 6 has 2 cells, but there are 3 columns"),
    (TABLE + "x,2,low\n", ["metric=loss"], "loss in line 6 is 'low', which is no number"),
    (TABLE + "x,2,\n", ["metric=loss"], "loss in line 6 is '', which is no number"),
    (TABLE + "x,1.5,2\n", ["metric=loss"], "the seed in line 6 is '1.5', but a seed is a whole number"),
    (
        TABLE + "x,2,2\n",
        ["metric=loss", "paired=true"],
        "paired=true is not allowed: the seeds of x and y differ, by [2]",
    ),
    ("arm,loss\nx,1\nx,2\ny,3\ny,5\n", ["metric=loss", "paired=true"], "there are no seeds"),
    ("arm,loss\nx,1\nx,2\ny,3\ny,5\n", ["metric=loss", "test=ranks"], "x and y are no pairs of one seed"),
    ("arm,seed,loss\nx,0,1\nx,1,2\n", ["metric=loss"], "has the arms and runs x 2: two arms with two runs are needed"),
    ("arm,seed,loss\nx,0,1\nx,1,2\ny,0,3\n", ["metric=loss"], "has the arms and runs x 2, y 1"),
    ("", ["metric=loss"], "has no column arm; it is empty"),
    ("arm,arm,loss\n", ["metric=loss"], "has more than one column arm"),
    ('arm,seed,loss\n"x,0,1\n', ["metric=loss"], "is not CSV"),
]


@pytest.mark.parametrize(("table", "keys", "words"), REFUSED, ids=[words[:40] for *_, words in REFUSED])
def test_a_table_that_cannot_be_judged_gets_one_sentence(
    table: str, keys: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "t.csv").write_text(table)
    assert judge("table=t.csv", *keys) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "keys", "words"),
    [
        ("none.csv", [], "table=none.csv is not a file or a folder"),
        ("empty", [], "has no offline run of wandb (*.wandb) and no event file of TensorBoard"),
        ("tb", [], "does not match the folder run1: which arm and seed is that?"),
        ("tb", ["names=("], "names=( is not a regular expression"),
        ("tb", ["names=(.+)"], "it must have the groups (?P<arm>...) and (?P<seed>...)"),
    ],
)
def test_a_place_that_holds_no_results_gets_one_sentence(
    path: str, keys: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    (here / "tb" / "run1").mkdir(parents=True)
    (here / "tb" / "run1" / "events.out.tfevents.1").touch()
    assert judge(f"table={path}", "metric=loss", *keys) == 2
    assert words in capsys.readouterr().err


def test_differences_that_are_all_the_same_claim_nothing_and_say_why(here: Path, capsys) -> None:
    a = [float(seed) for seed in range(8)]
    write_table(here / "results.csv", a, [value + 0.5 for value in a])
    assert judge("table=results.csv", "metric=loss") == 4
    assert "All differences are the same to the last digit" in capsys.readouterr().out
