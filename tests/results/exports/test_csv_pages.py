"""CSV files of wandb's page are read in full; garbage in them ends in one sentence, never in other numbers."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmablate.errors import UserError
from lmablate.results.exports import open_experiment, read_runs
from lmablate.results.exports.csv_pages import read_csv_pages
from tests.results.exports.helpers import make_config, make_run, points_of, save_pages, training_rows

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.binary(max_size=200) | st.text(alphabet='Step,run - a"01.\n\r_NaN', max_size=80).map(str.encode))
def test_any_bytes_give_runs_or_a_user_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "page.csv").write_bytes(data)
    with suppress(UserError):
        read_csv_pages(tmp_path, tmp_path, "x")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("Relative Time,r - a\n0,1\n", "save the chart with Step"),
        ("Step,r - a\n0,1,2\n", "line 2 has 3 cells, the header has 2"),
        ("Step,r - a\n0\n", "line 2 has 1 cells"),
        ("Step,r - a,r - a\n0,1,2\n", "names a column twice"),
        ("Step,r - a\n0,1_000\n", "is not a number"),
        ('Step,r - a\n0,"1,5"\n', "is not a number"),
        ("Step,r - a\n0.5,1\n", "not a whole number"),
        ("Step,r - a\nnan,1\n", "not a whole number"),
        ('Step,r - a\n0,"1\n', "is not a CSV file"),
    ],
)
def test_the_message_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "page.csv").write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_csv_pages(tmp_path, tmp_path, "x")


def test_files_that_agree_are_merged_and_files_that_do_not_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Step,r - a\n0,1\n1,2\n")
    (tmp_path / "b.csv").write_text("Step,r - a\n1,2\n2,3\n")
    (run,) = read_csv_pages(tmp_path, tmp_path, "x")
    assert points_of(run.read_curves()) == {("a", 0): 1, ("a", 1): 2, ("a", 2): 3}
    (tmp_path / "c.csv").write_text("Step,r - a\n1,2.5\n")
    with pytest.raises(UserError, match="another file says"):
        read_csv_pages(tmp_path, tmp_path, "x")


def test_averages_give_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("Step,r - a,r - a__MIN,r - a__MAX\n0,1,1,1\n9,2,1,3\n")
    read_csv_pages(tmp_path, tmp_path, "x")
    assert "'r - a' has averages over several steps or runs, at 1 of its steps" in caplog.text


def test_factors_and_seeds_of_runs_without_folders_are_read_off_their_ids(tmp_path: Path) -> None:
    rope = make_run(tmp_path / "runs", training_rows(0), {"made": {}}, make_config(pos="rope"))
    nope = make_run(tmp_path / "runs", training_rows(1), {"made": {}}, make_config(seed=3, pos="nope"))
    save_pages(read_runs("metrics", tmp_path / "runs"), tmp_path / "pages")
    data = open_experiment("saved", tmp_path, tmp_path / "pages", runs_dir=tmp_path / "elsewhere")
    levels = data.runs.set_index("run")[["model/pos", "seed"]]
    assert levels.loc[rope.id].tolist() == ["rope", 0]
    assert levels.loc[nope.id].tolist() == ["nope", 3]


def test_a_foreign_name_is_a_variant_with_a_seed(tmp_path: Path) -> None:
    header = "Step,my - rope run_seed2 - train/loss,my - rope run_seed2 - train/loss__MIN,sin-s1 - train/loss\n"
    (tmp_path / "page.csv").write_text(header + "0,8.5,8.5,9\n1,7.5,7.5,\n")
    data = open_experiment("saved", tmp_path, tmp_path)
    assert data.factors == ["variant"]
    assert data.runs[["variant", "seed"]].values.tolist() == [["my - rope run", 2], ["sin", 1]]
    assert data.table["value"].tolist() == [8.5, 7.5, 9.0]
