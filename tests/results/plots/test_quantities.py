"""Each metric has a name in words and a unit from one table, which probes of other packages extend."""

import json
from pathlib import Path

import pytest

from lmablate.errors import UserError
from lmablate.results.exports import Exported, Thinning, exported_names, load_exported, read_runs, write_tables
from lmablate.results.exports.recorded import make_curve
from lmablate.results.plots import plan_gallery, profiles
from lmablate.results.plots.quantities import KNOWN, index_name, is_known, quantity_of
from lmablate.results.plots.style import Look
from tests.results.exports.helpers import make_config, make_run, training_rows
from tests.results.plots.scenes import a_run, exported

ROOT = Path(__file__).resolve().parents[3]
DECLARED = {"embedding/rms": ["size of the embeddings", "units"], "entropy/head_{i}": ["entropy", "nats"]}


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("val/loss", "validation loss (nats/token)"),
        ("position_loss/bin_{i}", "loss by position (nats/token)"),
        ("position_loss/bin_3", "loss by position, eighth of the context 3 (nats/token)"),
        ("dead_units/layer_0", "dead MLP units, layer 0 (fraction)"),
        ("grad_norm", "gradient norm"),
        ("my/own_scalar", "my: own scalar"),
        ("my/own_{i}", "my"),
        ("my_{i}", "my_{i}".replace("_", " ")),
        ("speed", "speed"),
        ("___", "___"),
        ("a//b", "a: : b"),
        ("embedding/rms", "size of the embeddings (units)"),
        ("entropy/head_{i}", "entropy (nats)"),
        ("entropy/head_2", "entropy, head 2 (nats)"),
    ],
)
def test_a_metric_has_a_name_in_words(metric: str, label: str) -> None:
    assert quantity_of(metric, DECLARED).label == label


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("residual/drop_loss/layer_{i}", "layer"),
        ("position_loss/{i}x", "window in contexts"),
        ("position_loss/bin_{i}", "eighth of the context"),
        ("entropy/head_{i}", "head"),
        ("attention_head{i}", "attention head"),
        ("top/{i}", "index"),
    ],
)
def test_an_index_is_called_by_the_word_before_it(pattern: str, name: str) -> None:
    assert index_name(pattern) == name


# What the committed runs do not measure: averages of weights, and sizes of activations.
NOT_IN_THE_STUDY = {
    "val/raw_loss", "coordinates/attn/layer_{i}", "coordinates/mlp/layer_{i}", "coordinates/stream/layer_{i}",
    "coordinates/logits",
}  # fmt: skip


def test_every_metric_of_our_own_is_in_the_table() -> None:
    folder = ROOT / "analysis" / "exports"
    found = {name for experiment in exported_names(folder) for name in load_exported(folder, experiment).metrics.names}
    assert [name for name in sorted(found) if not is_known(name)] == []
    unused = {known for known in KNOWN if known not in found and known not in profiles([*found])}
    assert unused == NOT_IN_THE_STUDY


@pytest.mark.parametrize("names", [["x_00", "x_01", "x_10"], ["x1", "x2"], ["a/0x", "a/1x"]])
def test_a_profile_reads_the_metrics_as_they_are_called(names: list[str]) -> None:
    (members,) = profiles(names).values()
    assert [*members.values()] == names


def with_metric(tmp_path: Path, metric: str, declared: str | None, steps: range = range(4)) -> Exported:
    runs = []
    for seed in range(2):
        run = a_run(seed=seed, metric_names=declared)
        curves = {**run.read_curves(), metric: make_curve([*steps], [float(step) for step in steps])}
        runs.append(type(run)(**{**vars(run), "read_curves": lambda curves=curves: curves}))
    return exported(runs, tmp_path)


@pytest.mark.parametrize("steps", [range(1), range(3, 4), range(4)])
@pytest.mark.parametrize("metric", ["mine", "probe/of mine", "loss", "späte/größe", "x/layer_0", "$x$", "_x", "clip"])
def test_a_scalar_that_nobody_knows_is_drawn(metric: str, steps: range, tmp_path: Path) -> None:
    data = with_metric(tmp_path, metric, None, steps)
    names = {*plan_gallery(data)} - {*plan_gallery(exported([a_run()], tmp_path / "without"))}
    (name,) = names
    label = plan_gallery(data)[name]().axes[0].get_ylabel()
    assert quantity_of(metric).name.split()[0].lstrip("_") in label


def test_a_declared_name_reaches_the_axis_and_the_caption(tmp_path: Path) -> None:
    declared = json.dumps({"mine": ["my measure", "bananas"]})
    planned = plan_gallery(with_metric(tmp_path, "mine", declared), look=Look("page"))["mine"]
    assert planned.caption == "My measure (bananas)."
    assert planned().axes[0].get_ylabel() == "my measure (bananas)"


def test_what_a_probe_declares_goes_from_its_run_to_the_figure(tmp_path: Path) -> None:
    rows = [{**row, "mine": row["step"]} for row in training_rows(0)]
    run = make_run(tmp_path / "runs", rows, {"x": {}}, make_config())
    run.add_facts(metrics={"mine": ["my measure", ""]})
    older = make_run(tmp_path / "runs", rows, {"x": {}}, make_config(seed=1))
    assert "metrics" not in older.facts()
    write_tables(read_runs("metrics", tmp_path / "runs"), "x", tmp_path, Thinning(), "none")
    assert load_exported(tmp_path, "x").declared == {"mine": ["my measure", ""]}


def test_exports_without_declarations_have_no_column_for_them(tmp_path: Path) -> None:
    assert exported([a_run()], tmp_path).declared == {}
    assert "metric_names" not in (tmp_path / "x.runs.csv").read_text()


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"a": "b"}', '{"a": ["b"]}', '{"a": ["b", "c", "d"]}', '{"a": null}']
)
def test_a_damaged_declaration_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the column metric_names is damaged") as error:
        with_metric(tmp_path, "mine", text)
    assert "\n" not in str(error.value)
