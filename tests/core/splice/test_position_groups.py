"""Grouping tokens by position and putting them back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_tui.core.splice.position_groups import PositionGroups

GROUPS = 4
tables = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-1, GROUPS - 1), min_size=width, max_size=width), min_size=1, max_size=5
    )
)


@given(tables)
def test_group_holds_each_token_once_and_ungroup_puts_it_back(table: list[list[int]]) -> None:
    ids = torch.tensor(table)
    layout = PositionGroups(ids, GROUPS)
    x = torch.arange(ids.numel() * 2.0).reshape(*ids.shape, 2)
    grouped = layout.group(x)
    assert grouped.shape == (GROUPS, layout.width, 2)
    valid = layout.is_token.reshape(GROUPS, layout.width).bool()
    for group in range(GROUPS):
        rows = sorted(grouped[group][valid[group]].tolist())
        assert rows == sorted(x[ids == group].tolist())
    assert torch.equal(layout.ungroup(grouped, torch.zeros_like(x))[ids >= 0], x[ids >= 0])
    assert torch.equal(layout.ungroup(grouped, x), x)
    other = -torch.ones_like(x)
    assert torch.equal(layout.ungroup(grouped, other)[ids < 0], other[ids < 0])


@settings(max_examples=20)
@given(tables)
def test_gradients_are_those_of_the_copies(table: list[list[int]]) -> None:
    ids = torch.tensor(table)
    layout = PositionGroups(ids, GROUPS)
    x = torch.randn(*ids.shape, 2, dtype=torch.float64, requires_grad=True)

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        return layout.ungroup(layout.group(x).tanh(), x.sin())

    assert torch.autograd.gradcheck(there_and_back, (x,))
    # Padding holds some other token: no gradient may flow back through it.
    valid = layout.is_token.reshape(GROUPS, layout.width, 1)
    assert torch.autograd.gradcheck(lambda x: layout.group(x) * valid, (x,))


def test_tokens_of_a_group_keep_the_order_of_the_prompts() -> None:
    layout = PositionGroups(torch.tensor([[-1, 0, 1, 1], [-1, 0, 1, -1]]), 3)
    grouped = layout.group(torch.arange(8.0).reshape(2, 4, 1))[..., 0]
    assert grouped[0, :2].tolist() == [1, 5]
    assert grouped[1, :3].tolist() == [2, 3, 6]
    assert layout.is_token.reshape(3, 3).sum(1).tolist() == [2, 3, 0]
