"""The parts of the GPU benchmark, each for a process of its own.

    python benchmarks/gpu_parts.py PART OUTCOMES [--small] [--device cuda]

A row is added to the file OUTCOMES as soon as it is measured. What fails in one row is said there, and the next is
measured. `benchmarks/gpu.py` runs all parts and shows what they found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_rows import Rows, Scale, Shaped, circuit_numbers, effects, floor, search, steps, toggles
from search_step import SearchStep

from circuit_tui.core.models.devices import pick_device
from circuit_tui.core.runtime.out_of_memory import free_cached

FULL = Scale({
    "gpt2-small": "gpt2-small", "gemma-2-2b": "gemma-2-2b-16k", "gemma-2-9b": "gemma-2-9b-16k",
    "gemma-2-9b, wide": "gemma-2-9b-131k", "gemma-2-9b, searched": "gemma-2-9b-16k",
})  # fmt: skip
# Deep and narrow random weights do nothing on which a circuit could be judged: another shape is searched.
SMALL = Scale(
    {"gpt2-small": "gpt2-tiny", "gemma-2-2b": "gemma-2-tiny", "gemma-2-9b": "gemma-2-tiny-deep",
     "gemma-2-9b, wide": "gemma-2-tiny-deep-wide", "gemma-2-9b, searched": "gemma-2-tiny"},
    prompts=4, length=10, test=8, active=50, nodes=12, rounds=1, steps=2, published=1, search=(4, 10, 30, 1, 40.0),
    task="sva-simple",
)  # fmt: skip


def gpt2_small(rows: Rows, scale: Scale, device: torch.device) -> None:
    """GPT-2 small: steps, waits, toggles, a whole search."""
    shaped = Shaped("gpt2-small", scale, device)
    problem = shaped.problem("gpt2-small", scale.prompts, scale.length)
    steps(rows, "step-gpt2-small", problem, scale)
    steps(rows, "step-gpt2-small-few", problem, scale, scale.active)
    with rows.attempt("waits-step"):
        rows.add_waits("waits-step", SearchStep(problem), scale.steps, device)
    with rows.attempt("toggle-gpt2-small", "waits-toggle"):
        numbers = circuit_numbers(problem, scale.nodes)
        toggles(rows, "toggle-gpt2-small", "waits-toggle", numbers, problem, scale)
    search(rows, "search-gpt2-small", shaped, "gpt2-small", scale)


def gemma_2_2b(rows: Rows, scale: Scale, device: torch.device) -> None:
    """Gemma 2 2B: steps."""
    problem = Shaped("gemma-2-2b", scale, device).problem("gemma-2-2b", scale.prompts, scale.length)
    steps(rows, "step-gemma-2-2b", problem, scale)


def gemma_2_9b(rows: Rows, scale: Scale, device: torch.device) -> None:
    """Gemma 2 9B: steps and their floor, toggles, effects, steps with wide SAEs, a whole search."""
    shaped = Shaped("gemma-2-9b", scale, device)
    problem = shaped.problem("gemma-2-9b", scale.prompts, scale.length)
    floor(rows, "floor-gemma-2-9b", problem, steps(rows, "step-gemma-2-9b", problem, scale))
    with rows.attempt("toggle-gemma-2-9b"):
        numbers = circuit_numbers(problem, scale.nodes)
        toggles(rows, "toggle-gemma-2-9b", "", numbers, problem, scale)
    with rows.attempt("effects-gemma-2-9b"):
        effects(rows, "effects-gemma-2-9b", circuit_numbers(problem, scale.nodes), device, scale)
    del problem, numbers
    free_cached()
    with rows.attempt("step-gemma-2-9b-131k"):
        wide = shaped.problem("gemma-2-9b, wide", scale.prompts, scale.length)
        steps(rows, "step-gemma-2-9b-131k", wide, scale)
        del wide
    free_cached()
    searched = "gemma-2-9b, searched"
    if scale.shapes[searched] != scale.shapes["gemma-2-9b"]:
        shaped = Shaped(searched, scale, device)
    search(rows, "search-gemma-2-9b", shaped, searched, scale)


def demo(rows: Rows, scale: Scale, device: torch.device) -> None:
    """The bundled model through the program itself: `find`, and the explorer in a terminal."""
    with rows.attempt("demo-search"):
        from search_time import timed

        found = timed(scale.task, 0.95, ("--device", device.type))
        number, why_not = (found.search, "") if found.reached else (None, "the target was not reached")
        rows.add("demo-search", number, why_not, **vars(found))
    with rows.attempt("demo-ready", "output"):
        import latency

        explorer = latency.Explorer([latency.PROGRAM, "explore", "--task", scale.task, "--device", device.type], 80, 24)
        try:
            first, opened = explorer.opened()
            rows.add("demo-ready", opened, task=scale.task, first_frame=first)
            with rows.attempt("output"):
                rate, details = latency.output_in_search(explorer)
                rows.add("output", rate / 1000, **details)
        finally:
            explorer.quit()


PARTS: dict[str, Callable[[Rows, Scale, torch.device], None]] = {
    "demo": demo, "gpt2-small": gpt2_small, "gemma-2-2b": gemma_2_2b, "gemma-2-9b": gemma_2_9b,
}  # fmt: skip


def main() -> int:
    """Parses the command line and measures the rows of one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device")
    args = parser.parse_args()
    PARTS[args.part](Rows(args.outcomes), SMALL if args.small else FULL, pick_device(args.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
