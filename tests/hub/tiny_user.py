"""``circuit-tui`` where the releases that take sizes from tables are tiny: what the end-to-end test starts."""

import sys
from pathlib import Path

for _folder in (Path(__file__).parents[1] / "core", Path(__file__).parent):
    sys.path.insert(0, str(_folder))

import pytest  # noqa: E402 found by the lines above
from releases import shrink  # noqa: E402

from circuit_tui.tui.cli import main  # noqa: E402

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        sys.exit(main())
