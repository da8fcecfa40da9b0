"""How long the list of latents takes to filter, sort and go flat, up to the rows on the screen, without a terminal.

    python benchmarks/list_of_latents.py [--nodes 100000] [-n 20]

It takes the time from a change of filter or order to the rows of a screen, on a made-up table with promoted tokens.
Drawing and the terminal come on top: `latency.py` has them, for the demo.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from typing import Any

from circuit_tui.core.latents.views import LatentColumns, TopTokens
from circuit_tui.core.views import CircuitView, Metrics, NodeTable, SiteInfo
from circuit_tui.tui.circuit_rows import CircuitRows

POSITIONS = 4
SITES = 12
ROWS = 50
BOUND = 0.033
WORDS = [f" {a}{b}" for a in ("run", "see", "walk", "know", "was", "is") for b in ("", "s", "ing", "ed")]
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("filter by a word", {"filter": "walk"}),
    ("filter by two terms", {"filter": "push>0.5 pos=p2"}),
    ("clear the filter", {"filter": ""}),
    ("sort by push", {"sort": "push"}),
    ("sort by promoted tokens", {"sort": "promotes"}),
    ("one flat list", {"flat": True}),
    ("by site again", {"flat": False, "sort": "latent"}),
)


def made_up(n_nodes: int) -> CircuitRows:
    """A list of `n_nodes` candidates, 1% of them kept, with all columns known."""
    draw = random.Random(0)
    keys = [
        (site, latent, position)
        for site in range(SITES)
        for latent in range(math.ceil(n_nodes / SITES / POSITIONS))
        for position in range(POSITIONS)
    ][:n_nodes]
    numbers = [tuple(draw.random() for _ in keys) for _ in range(5)]
    sites = tuple(SiteInfo(f"blocks.{s}.hook_resid_post", f"L{s}", "sae", "standard", 2**17, 0) for s in range(SITES))
    latents = sorted({(site, latent) for site, latent, _ in keys})
    label = {key: " ".join(draw.sample(WORDS, 2)) for key in latents}
    table = NodeTable(
        sites, tuple(f"p{position}" for position in range(POSITIONS)), tuple(key[0] for key in keys),
        tuple(key[2] for key in keys), tuple(key[1] for key in keys), tuple(label[key[:2]] for key in keys), *numbers,
    )  # fmt: skip
    rows = CircuitRows(table)
    kept = bytes(draw.random() < 0.01 for _ in keys)
    metrics = Metrics(1.0, 1.0, 1.0, 0.0, 1.0, 0.0, (0.0, 0.0))
    effect = tuple(0.1 if on else None for on in kept)
    view = CircuitView(
        0, kept, sum(kept), (0,) * SITES, metrics, None, effect, sum(kept), "", None, False, False, (), False
    )  # fmt: skip
    rows.set_circuit(view, whole=True)
    tokens = tuple(TopTokens(*key, tuple(draw.sample(WORDS, 5)), tuple(draw.sample(WORDS, 5))) for key in latents)
    push = tuple(draw.uniform(-1, 1) if key[2] == 2 else None for key in keys)
    rows.set_latent_columns(LatentColumns(push, (tokens,), len(latents), len(latents)))
    return rows


def main() -> int:
    """Prints the table; 1 if a change misses the bound of a move."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("-n", type=int, default=20, help="times that each change is made")
    args = parser.parse_args()
    rows = made_up(args.nodes)
    seconds: dict[str, list[float]] = {what: [] for what, _ in CHANGES}
    for _ in range(args.n):
        for what, change in CHANGES:
            begun = time.process_time()
            for name, value in change.items():
                setattr(rows, name, value)
            rows.rebuild()
            assert rows.rows[:ROWS]
            seconds[what].append(time.process_time() - begun)
    print(f"| change, {args.nodes:,} nodes | p95 |\n|---|--:|")
    met = True
    for what, times in seconds.items():
        p95 = sorted(times)[math.ceil(0.95 * len(times)) - 1]
        met &= p95 <= BOUND
        print(f"| {what} | {p95 * 1000:.0f} ms |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
