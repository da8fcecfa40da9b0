"""The real model of `make smollm2`, if it is in the cache; these tests fetch nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test modules are imported by file; the oracle is imported by name from here.
sys.path.insert(0, str(Path(__file__).parent))

from circuit_tui.core.models.packaged_model import packaged_folder, packaged_on_disk
from circuit_tui.core.models.presets import package_of

NAME = "smollm2-135m"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The model's folder, or the test is skipped."""
    package = package_of(NAME)
    assert package is not None
    if not packaged_on_disk(NAME, package):
        pytest.skip(f"{NAME} is not in the cache: make test-smollm2 fetches it and runs these")
    return packaged_folder(NAME, package)
