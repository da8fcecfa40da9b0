"""Pictures of the explorer on the bundled demo, and of a circuit of SmolLM2, as SVG files.

    python benchmarks/screenshots.py [--out docs/screens] [--only narrow|wide|smollm2]

The app runs without a terminal, driven by keys as a person would press them: on the demo's model and a real search for
`sva-rc`, and, only if asked for, on SmolLM2 and the circuit that comes with the program.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from screen_svg import svg

from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.widgets.circuit_table import CircuitTable

NARROW, MIDDLE, WIDE = (80, 24), (120, 36), (160, 50)
REAL_CIRCUIT = Path("examples/smollm2/sva.circuit.json")
SITE, LATENT = 1, 92
"""The latent that the pictures show; the first of the site's kept ones if a search no longer keeps it."""


class Session:
    """One app at one size, and where its pictures go."""

    def __init__(self, pilot: Any, folder: Path, size: str) -> None:
        self.pilot, self.app = pilot, pilot.app
        self._folder, self._size = folder, size

    async def until(self, condition: Callable[[], Any], seconds: float = 1800.0) -> None:
        """Lets the app run until `condition` holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the explorer did not get there")
            await self.pilot.pause(0.05)

    async def press(self, *keys: str) -> None:
        """Presses keys and waits until all that they ask for is computed and shown."""
        await self.pilot.press(*keys)
        await self.settled()

    async def settled(self) -> None:
        """Waits until nothing is left to compute or to show."""
        await self.pilot.pause(0.3)
        await self.until(lambda: self._views_fresh() and not self.app._notifications)
        await self.pilot.pause(0.3)

    def _views_fresh(self) -> bool:
        state, shown = self.app.engine.state, self.app.main.shown
        circuit = state.circuit
        prompts_fresh = state.prompts is None or state.prompts.version == circuit.version
        return state is shown and circuit.effects_done == circuit.size and prompts_fresh

    async def opened(self) -> None:
        """Waits until the explorer takes keys."""
        await self.until(lambda: self.app.loaded and self.app.main.shown.phase == "ready")

    async def search(self) -> None:
        """Waits for the demo to open and searches it to the end."""
        await self.opened()
        await self.pilot.press("s")
        await self.until(lambda: self.app.main.shown.search.phase == "done")
        await self.settled()

    async def audit(self) -> None:
        """Audits the circuit up to the first line that needs a search, and stops there."""
        before = sum(not line.searches(AuditSettings()) for line in LINES)
        await self.pilot.press("A")
        await self.until(lambda: (audit := self.app.main.shown.audit) and len(audit.findings) >= before)
        await self.press("A")

    async def to_latent(self, site: int = SITE, latent: int = LATENT) -> None:
        """Puts the cursor of the circuit pane on the chosen latent."""
        table = self.app.screen.query_one(CircuitTable)
        kept = [row for row in table.model.rows if isinstance(row, LatentRow) and row.site == site]
        wanted = next((row for row in kept if row.latent == latent), kept[0])
        await self.press("1", "g", *["j"] * table.model.rows.index(wanted))

    def save(self, name: str) -> None:
        """Writes what the screen shows now."""
        path = self._folder / f"{name}-{self._size}.svg"
        path.write_text(svg(self.app.screen._compositor.render_strips(), self.app.size), encoding="utf-8")
        print(f"{path}  {path.stat().st_size / 1024:.0f} KB", flush=True)


async def narrow(session: Session) -> None:
    """Each pane on a small terminal."""
    await session.search()
    await session.press("v")
    session.save("search")
    await session.to_latent()
    await session.press("space")
    session.save("circuit")
    await session.press("u")
    await session.press("2")
    session.save("latent")
    await session.press("3", "enter")
    session.save("prompts")
    await session.press("5", "h", "h", "h")
    session.save("frontier")
    await session.audit()
    session.save("audit")


async def wide(session: Session) -> None:
    """All panes on a large terminal."""
    await session.search()
    await session.press("3", "enter")
    await session.to_latent()
    session.save("explorer")


async def real(session: Session) -> None:
    """The circuit of SmolLM2, its latents, one of them and the prompts."""
    await session.opened()
    await session.settled()
    await session.press("3", "enter")
    await session.to_latent(2, 1795)
    session.save("smollm2")


async def take(
    folder: Path, size: tuple[int, int], steps: Callable[[Session], Any], request: OpenRequest | None = None
) -> None:
    """Runs `steps` on an app of this size, on `request` or the demo."""
    app = ExplorerApp(request or OpenRequest(task="sva-rc"), ExplorerOptions(theme="dark"))
    async with app.run_test(size=size) as pilot:
        await steps(Session(pilot, folder, f"{size[0]}x{size[1]}"))


def main() -> int:
    """Parses the command line and takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screens"))
    parser.add_argument("--only", choices=("narrow", "wide", "smollm2"))
    args = parser.parse_args()
    os.environ.pop("NO_COLOR", None)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only == "smollm2":
        asyncio.run(take(args.out, MIDDLE, real, OpenRequest(circuit=REAL_CIRCUIT)))
        return 0
    if args.only != "wide":
        asyncio.run(take(args.out, NARROW, narrow))
    if args.only != "narrow":
        asyncio.run(take(args.out, WIDE, wide))
    return 0


if __name__ == "__main__":
    sys.exit(main())
