"""metrics.jsonl: each step once and in order, whatever a kill left behind. tests/faults kills real runs."""

import pytest

from lmablate.errors import UserError
from lmablate.runs import metrics
from lmablate.runs.metrics import MetricsLog, dump_row, newest_values, read_metrics


def write_rows(path, steps, mode="w"):
    with path.open(mode) as file:
        file.writelines(dump_row({"step": step, "train/loss": 1 / (step + 1)}) for step in steps)


def steps_in(path):
    return [row["step"] for row in read_metrics(path)]


def test_a_row_comes_back_as_it_was_written(tmp_path):
    row = {"step": 3, "train/loss": 0.1 + 0.2, "grad_norm": 1e-30}
    log = MetricsLog(tmp_path / "metrics.jsonl", keep_below=0)
    log.write(row)
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [row]


def test_a_row_is_in_the_file_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", keep_below=0)
    log.write({"step": 0})
    assert steps_in(tmp_path / "metrics.jsonl") == [0]
    log.close()


def test_rows_from_the_resumed_step_on_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(8))
    log = MetricsLog(path, keep_below=5, expected=5)
    assert log.rows == 5
    log.write({"step": 5})
    assert log.rows == 6
    log.close()
    assert steps_in(path) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("present", [[0, 1, 3, 4], [0, 1, 1, 2, 3, 4]])
def test_missing_or_additional_rows_are_refused(tmp_path, present):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, present)
    with pytest.raises(UserError, match=f"has {len(present)} rows before step 5, but had 5"):
        MetricsLog(path, keep_below=5, expected=5)
    assert steps_in(path) == present, "the file was changed"


def test_an_incomplete_last_line_is_dropped_with_a_warning(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(2))
    with path.open("a") as file:
        file.write('{"step":2,"train/lo')
    assert steps_in(path) == [0, 1]
    assert "dropped an incomplete last line of 19 bytes" in caplog.text


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"loss":1}', '{"step":1.0}', '{"step":true}', "\0\0"])
def test_a_damaged_line_before_the_last_is_refused_by_its_number(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, [0])
    with path.open("a") as file:
        file.write(line + "\n")
    write_rows(path, [2], mode="a")
    with pytest.raises(UserError, match="line 2 is damaged"):
        read_metrics(path)


def test_damage_behind_the_resumed_step_does_no_harm(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(6))
    with path.open("a") as file:
        file.write("\0\0\n{}\n")
    MetricsLog(path, keep_below=5, expected=5).close()
    assert steps_in(path) == [0, 1, 2, 3, 4]


# Content of a metrics.jsonl, and the newest values of train/loss and val/loss.
TAILS = [
    ("", {}),
    ('{"step":0,"val/loss":5.0}\n{"step":0,"train/loss":4.0}\n', {"train/loss": 4.0, "val/loss": 5.0}),
    ('{"step":0,"val/loss":5.0}\n{"step":1,"val/loss":3}\n', {"val/loss": 3.0}),
    ('{"step":0,"train/loss":4.0}\n{"step":1,"train/lo', {"train/loss": 4.0}),
    ('{"step":0,"train/loss":4.0}\n{"step":1,"train/loss":2.0}', {"train/loss": 2.0}),
    ('{"step":0,"train/loss":4.0}\nnonsense\n[3]\n3\n\n', {"train/loss": 4.0}),
    ('{"step":0,"train/loss":4.0}\n{"step":1,"train/loss":"high"}\n', {"train/loss": 4.0}),
    ('{"step":0,"train/loss":4.0}\n' + "[" * 100_000 + "\n", {"train/loss": 4.0}),
    ('{"step":0,"val/loss":5}\n' + '{"step":1,"train/loss":2,"lr":0.1}\n' * 9000, {"train/loss": 2, "val/loss": 5}),
]


@pytest.mark.parametrize(("content", "newest"), TAILS, ids=lambda value: str(value)[-40:])
@pytest.mark.parametrize("block", [7, 1 << 16])
def test_the_newest_values_are_read_from_the_end(tmp_path, monkeypatch, content, newest, block):
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", block if len(content) < 1000 else 1 << 16)
    (tmp_path / "metrics.jsonl").write_text(content)
    assert newest_values(tmp_path / "metrics.jsonl", ("train/loss", "val/loss")) == newest
    assert newest_values(tmp_path / "missing", ("train/loss",)) == {}
