"""Typed helpers for pandas tables: pandas has no complete type annotations, so its results are narrowed here."""

from collections.abc import Hashable, Sequence
from typing import Any, cast

import pandas as pd

# A value of a factor, of the config or of a fact. A column of them has one type.
Scalar = str | int | float


def select_rows(frame: pd.DataFrame, chosen: Any) -> pd.DataFrame:
    """Return the rows of `frame` at which `chosen`, a column or an array of booleans, is true."""
    return cast(pd.DataFrame, frame.loc[chosen])


def select_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `frame` with these names, in this order."""
    return cast(pd.DataFrame, frame[list(names)])


def get_column(frame: pd.DataFrame, name: Hashable) -> pd.Series:
    """Return one column of `frame`."""
    return cast(pd.Series, frame[name])


def group_rows(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[tuple[Scalar, ...], pd.DataFrame]]:
    """Return the rows of `frame` by the values of the columns `names`, in ascending order; NaN is a value, too."""
    groups = frame.groupby(list(names), sort=True, dropna=False)
    return cast(list[tuple[tuple[Scalar, ...], pd.DataFrame]], list(groups))


def distinct_values(column: pd.Series) -> list[Scalar]:
    """Return the values of `column` without repetitions and missing values, in order of appearance."""
    return cast(list[Scalar], column.dropna().unique().tolist())


def align_rows(first: pd.Series, second: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return both columns at the labels that they have in common."""
    return cast(tuple[pd.Series, pd.Series], first.align(second, join="inner"))


def sample_variance(column: pd.Series) -> float:
    """Return the variance of `column`, with n - 1 in the denominator."""
    return float(cast(float, column.var()))
