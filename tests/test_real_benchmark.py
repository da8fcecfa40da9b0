"""The benchmark on a real model: rows outlive a kill, and tables take from them what they say."""

from __future__ import annotations

from pathlib import Path

import real

from circuit_tui.core.tasks.task import Pair, Split, Task


def test_rows_of_a_real_model_survive_a_kill(tmp_path: Path) -> None:
    path, row = tmp_path / "rows.jsonl", {"kind": "search", "task": "sva", "label": "mask", "prompts": None, "steps": 9}
    real.Rows(path).add(row)
    with path.open("a") as file:
        file.write('{"kind": "sea')
    rows = real.Rows(path)
    assert rows.has(row)
    assert not rows.has({**row, "steps": None})
    rows.add({**row, "steps": None})
    assert len(real.read_rows(path)) == 2


def test_the_best_penalty_is_the_smallest_circuit_that_holds_on_held_out_prompts() -> None:
    runs = [
        {"label": label, "nodes": nodes, "test": test, "points": [(nodes // 2, 0.81)]}
        for label, nodes, test in (("a", 9, 0.9), ("b", 30, 0.96), ("c", 20, 1.04), ("d", 10, 1.2))
    ]
    best = real.best_of(runs, 0.95)
    assert best["label"] == "c"
    assert [real.needed(best["points"], level) for level in (0.8, 0.9, 0.95, 0.99)] == [4, 9, 20, None]
    assert real.best_of(runs, 0.99)["label"] == "b"


def test_fewer_prompts_keep_twins_together() -> None:
    splits: tuple[Split, ...] = ("train", "test")
    pairs = [Pair(f"{number}", f"{number ^ 1}", "a", "b", split) for split in splits for number in range(40)]
    few = real.fewer(Task("t", "", tuple(pairs)), 10)
    for split in splits:
        kept = [int(pair.clean) for pair in few.split(split)]
        assert len(kept) == 10
        assert {number ^ 1 for number in kept} == set(kept)
