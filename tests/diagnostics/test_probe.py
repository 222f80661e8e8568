"""A probe may declare names and units of its metrics; a wrong declaration is refused in one sentence."""

from typing import Any

import pytest

from lmablate.diagnostics import Probe
from lmablate.diagnostics.probe import declared_metrics
from lmablate.errors import UserError


def a_probe(metrics: Any) -> Probe:
    return type("Mine", (Probe,), {"METRICS": metrics})()


def test_the_declarations_of_all_probes_are_joined() -> None:
    probes = [a_probe({"a": ("first", "m")}), Probe(), a_probe({"b/head_{i}": ["second", ""], "a": ("first", "m")})]
    assert declared_metrics(probes) == {"a": ["first", "m"], "b/head_{i}": ["second", ""]}
    assert declared_metrics([Probe()]) == {}


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        (["a"], "Mine.METRICS must be a dictionary"),
        (None, "Mine.METRICS must be a dictionary"),
        ("a", "Mine.METRICS must be a dictionary"),
        ({"a": "name"}, "'a' must have a name and a unit, two texts, not 'name'"),
        ({"a": ("name",)}, "'a' must have a name and a unit"),
        ({"a": ("name", None)}, "'a' must have a name and a unit"),
        ({"a": ("name", "unit", "more")}, "'a' must have a name and a unit"),
        ({3: ("name", "unit")}, "3 must have a name and a unit"),
        ({"a": {"name": "unit"}}, "'a' must have a name and a unit"),
        ({"other": ("another name", "")}, "other has the name and unit"),
    ],
)
def test_a_wrong_declaration_is_refused(metrics: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        declared_metrics([a_probe({"other": ("name", "")}), a_probe(metrics)])
    assert "\n" not in str(error.value)
