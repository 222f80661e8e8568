"""A simulated study whose truth is known, and the verdicts on it."""

from pathlib import Path

import pytest

from lmablate.config.schema import CONF
from lmablate.evidence import Verdict, judge_claims, load_claims
from lmablate.results.report.study import Study
from tests.results.report.helpers import simulated, write_exports


@pytest.fixture(scope="session", params=[1, 0, -1], ids=["true", "alike", "false"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study in which every claim is true, no arms differ, or every claim is false; one claim is not run."""
    folder: Path = write_exports(simulated(request.param), tmp_path_factory.mktemp("exports"))
    (folder / "warmup.parquet").unlink()  # so that a claim is not run
    return Study.load(folder)


@pytest.fixture(scope="session")
def verdicts(study: Study) -> list[Verdict]:
    return judge_claims(load_claims(CONF / "claim"), study.run_table)
