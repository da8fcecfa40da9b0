"""What a command leaves that is run inside the test's process: see the fixture `cli`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one error line of a refusal; progress may stand before it."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip("\n").endswith(lines[0])
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Outcome]
"""From arguments to what the command left."""
