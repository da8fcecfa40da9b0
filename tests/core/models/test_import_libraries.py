"""The collector waits while libraries are imported, and only then."""

from __future__ import annotations

import gc
import sys

import pytest

from circuit_tui.core.models.compat.import_libraries import import_libraries


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_afterwards_what_it_was(collecting: bool) -> None:
    import_libraries.cache_clear()
    (gc.enable if collecting else gc.disable)()
    try:
        import_libraries()
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
    assert {"sae_lens", "transformer_lens.model_bridge"} <= set(sys.modules)
    assert gc.get_freeze_count() > 10_000


def test_what_comes_later_is_collected() -> None:
    """A second call leaves alone what was opened meanwhile: frozen, it would never be freed."""
    import_libraries()
    frozen = gc.get_freeze_count()
    later: list[object] = [[] for _ in range(1000)]
    later.append(later)
    import_libraries()
    assert gc.get_freeze_count() <= frozen
    del later
    assert gc.collect() >= 1000
