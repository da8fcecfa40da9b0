"""The collector waits while libraries are imported, and only then."""

from __future__ import annotations

import gc
import subprocess
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


def test_python_still_collects_while_it_imports() -> None:
    """When this fails, delete the patch: `import_libraries` need not hold the collector back."""
    program = (
        "import gc\n"
        "seen = []\n"
        "gc.callbacks.append(lambda phase, info: seen.append(info) if phase == 'stop' else None)\n"
        "import torch\n"
        "print(sum(info['generation'] == 2 for info in seen), sum(info['collected'] for info in seen))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    full, _ = map(int, done.stdout.split())
    assert full > 1
