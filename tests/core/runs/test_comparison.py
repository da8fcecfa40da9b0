"""A comparison from records: grouping, ranges, and the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny.records import record, subject

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.identity import Identity, IdentitySite
from circuit_tui.core.runs.comparison import (
    Comparison,
    NodesNeeded,
    RefusedMethod,
    SeedRange,
    read_comparison,
    write_comparison,
)
from circuit_tui.core.runs.frontier import area, frontier
from circuit_tui.core.runs.record import RunPoint

# Two penalties and two seeds of one method, one run of another.
RECORDS = [
    record("published", 0, ((40, 0.96, 0.94),), seconds=2, **{"lambda": 0.1}),
    record("published", 0, ((10, 0.85, 0.8),), seconds=3, **{"lambda": 0.2}),
    record("published", 1, ((60, 0.99, 0.97),), seconds=4, **{"lambda": 0.1}),
    record("published", 1, ((12, 0.7, 0.75),), seconds=5, **{"lambda": 0.2}),
    record("ig", 0, ((1, 0.1, 0.1), (30, 0.95, 0.9))),
]


def test_runs_of_a_grid_are_one_frontier_for_each_seed() -> None:
    (task,) = Comparison.of(RECORDS, complete=True).tasks
    published, ig = task.methods
    assert (published.label, ig.label) == ("published", "ig")
    assert [[point.size for point in seed.points] for seed in published.seeds] == [[10, 40], [12, 60]]
    assert [seed.runs for seed in published.seeds] == [2, 2]
    assert [seed.seconds for seed in published.seeds] == [5, 9]
    assert published.seconds == SeedRange(median=7, low=5, high=9)
    assert published.steps == SeedRange(median=20, low=20, high=20)
    areas = [area(frontier([RunPoint(size=s, train=a, test=b) for s, a, b in rows]), 100)
             for rows in (((10, 0.85, 0.8), (40, 0.96, 0.94)), ((12, 0.7, 0.75), (60, 0.99, 0.97)))]  # fmt: skip
    assert published.area == SeedRange(median=sum(areas) / 2, low=min(areas), high=max(areas))
    assert task.runs == tuple(RECORDS)


def test_nodes_needed_over_seeds() -> None:
    published = Comparison.of(RECORDS, complete=True).tasks[0].methods[0]
    needed = {each.level: each for each in published.needed}
    assert [seed.needed for seed in published.seeds] == [
        {"0.8": 10, "0.9": 40, "0.95": None, "0.99": None},
        {"0.8": 60, "0.9": 60, "0.95": 60, "0.99": None},
    ]
    assert (needed[0.8].median, needed[0.8].low, needed[0.8].high, needed[0.8].reached) == (35, 10, 60, 2)
    assert (needed[0.95].median, needed[0.95].low, needed[0.95].high, needed[0.95].reached) == (None, 60, None, 1)
    assert (needed[0.99].median, needed[0.99].reached) == (None, 0)


@pytest.mark.parametrize(
    ("sizes", "median", "high"),
    [
        ((3, None, 5), 5, None),
        ((3, None, None), None, None),
        ((3, 5, 9, None), 7, None),
        ((3, 5, None, None), None, None),
    ],
)
def test_a_seed_that_never_gets_there_counts_as_larger_than_any(
    sizes: tuple[int | None, ...], median: float | None, high: int | None
) -> None:
    needed = NodesNeeded.over(0.9, sizes)
    assert (needed.median, needed.low, needed.high) == (median, 3, high)


def test_the_band_begins_where_every_seed_has_a_circuit() -> None:
    published = Comparison.of(RECORDS, complete=True).tasks[0].methods[0]
    assert [point.size for point in published.band] == [12, 40, 60]
    assert [(point.test.low, point.test.high) for point in published.band] == [(0.75, 0.8), (0.75, 0.94), (0.94, 0.97)]
    assert published.band[2].error.low == pytest.approx(0.03)


def test_other_subjects_are_other_tasks_and_stopped_runs_count_for_nothing() -> None:
    other = record("published", 0, ((5, 0.9, 0.9),), about=subject("other"))
    same_name = record("published", 0, ((5, 0.9, 0.9),), about=subject("able", candidates=7))
    stopped = record("published", 2, ((1, 1.0, 1.0),), stopped=True)
    found = Comparison.of([*RECORDS, other, same_name, stopped], complete=True)
    assert [(task.subject.task, task.subject.candidates) for task in found.tasks] == [
        ("able", 100), ("other", 100), ("able", 7)
    ]  # fmt: skip
    assert [seed.seed for seed in found.tasks[0].methods[0].seeds] == [0, 1]


def relocated(hashed: str) -> Identity:
    """Returns the subject of the records, in other folders."""
    site = IdentitySite(hook="blocks.0.hook_resid_post", sae="/elsewhere/sae", weights_sha256=hashed)
    return subject().model_copy(update={"model": "/elsewhere/tiny", "model_sha256": hashed, "sites": (site,)})


def test_the_same_weights_in_other_folders_are_the_same_subject() -> None:
    here = subject().model_copy(update={"model_sha256": "b" * 64})
    here = here.model_copy(update={"sites": (here.sites[0].model_copy(update={"weights_sha256": "b" * 64}),)})
    rows = ((5, 0.9, 0.9),)

    def tasks_with(other: Identity) -> list[int]:
        runs = [record("ig", 0, rows, about=here), record("atp", 0, rows, about=other)]
        return [len(task.methods) for task in Comparison.of(runs, complete=True).tasks]

    assert tasks_with(relocated("b" * 64)) == [2]
    assert tasks_with(relocated("c" * 64)) == [1, 1]
    assert tasks_with(relocated("")) == [1, 1]


def test_other_token_ids_are_another_subject_where_their_hashes_are_known() -> None:
    rows = ((5, 0.9, 0.9),)

    def tasks_with(*hashes: str) -> list[int]:
        subjects = [subject().model_copy(update={"tokens_sha256": hashed}) for hashed in hashes]
        runs = [record(("ig", "atp", "mask")[index], 0, rows, about=about) for index, about in enumerate(subjects)]
        return [len(task.methods) for task in Comparison.of(runs, complete=True).tasks]

    assert tasks_with("a" * 64, "a" * 64, "b" * 64) == [2, 1]
    assert tasks_with("a" * 64, "b" * 64, "") == [3], "an earlier version wrote the last"


def test_nothing_but_names_tells_subjects_without_hashes_apart() -> None:
    runs = [record("ig", 0, ((5, 0.9, 0.9),), about=about) for about in (subject(), relocated(""))]
    assert len(Comparison.of(runs, complete=True).tasks) == 2


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    refusal = RefusedMethod(task="able", label="ig", reason="pairs of unequal length")
    comparison = Comparison.of(RECORDS, [refusal], complete=False)
    path = write_comparison(comparison, tmp_path / "c.json")
    assert read_comparison(path) == comparison
    data = json.loads(path.read_text())
    assert (data["schema"], data["complete"], data["levels"]) == (
        "circuit-tui/comparison/1",
        False,
        [0.8, 0.9, 0.95, 0.99],
    )
    again = Comparison.of(read_comparison(path).records, read_comparison(path).refused, complete=False)
    assert again.tasks == comparison.tasks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("{", "not JSON"),
        ("[]", "not a comparison: its schema is None"),
        ('{"schema": "circuit-tui/circuit/1"}', "its schema is 'circuit-tui/circuit/1', this version reads"),
        ('{"schema": "circuit-tui/comparison/1"}', "created: Field required"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        read_comparison(path)
    assert str(refused.value).startswith(str(path))
