"""The table of an experiment is mean and standard deviation over its finished seeds."""

from lmablate.results.exports import Exported
from lmablate.results.frames import get_column
from lmablate.results.plots import summary


def test_the_summary_is_mean_and_deviation_over_seeds(data: Exported) -> None:
    table = summary(data).set_index("variant")
    final = get_column(data.runs, "val/loss")[data.runs["model/pos"] == "rope"]
    assert table.loc["RoPE", "val loss"] == f"{final.mean():.4f} ± {final.std():.4f}"
    assert table["seeds"].to_dict() == {"RoPE": "3", "none (NoPE)": "2 of 3, 1 diverged"}
    assert table["parameters"].tolist() == ["393,792"] * 2
