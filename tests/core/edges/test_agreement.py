"""Rank correlations against a definition written a second time, with ties."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_tui.core.edges.agreement import rank_correlation

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=20)


@given(PAIRS)
def test_rank_correlation_is_that_of_pandas(pairs: list[tuple[int, int]]) -> None:
    first, second = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
        return
    ranks = [pandas.Series(values).rank() for values in (first, second)]
    assert found == pytest.approx(float(np.corrcoef(*ranks)[0, 1]), abs=1e-9)


def test_fewer_than_three_have_none() -> None:
    assert rank_correlation([1.0, 2.0], [2.0, 1.0]) is None
