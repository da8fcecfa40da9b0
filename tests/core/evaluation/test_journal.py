"""The file of a journal: what another process finds in it after a kill, a cut line and a full disk."""

from __future__ import annotations

import errno
import gc
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from circuit_tui.core.evaluation.journal import Journal, recalled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def numbers(journal: Journal, count: int) -> list[float]:
    """Asks for `count` numbers, which are 0 where they must be computed and have never been."""
    with journal.active():
        return [recalled(lambda: 0.0, "number", index) for index in range(count)]


def write(journal: Journal, *values: float) -> None:
    with journal.active():
        for index, value in enumerate(values):
            recalled(lambda value=value: value, "number", index)  # type: ignore[misc]


def test_another_process_recalls_what_was_flushed(path: Path) -> None:
    killed = Journal(path)
    write(killed, 0.5, 0.25)
    killed.flush()
    write(killed, 0.5, 0.25, 0.125)
    again = Journal(path)
    assert numbers(again, 3) == [0.5, 0.25, 0.0]
    assert again.recalled == 2


def test_a_tensor_is_recalled_to_the_bit(path: Path) -> None:
    drawn, first = torch.rand(5), Journal(path)
    with first.active():
        recalled(lambda: drawn, "tensor")
    first.flush()
    with Journal(path).active():
        assert recalled(lambda: torch.zeros(5), "tensor").equal(drawn)


def test_a_line_that_was_cut_off_is_written_over(path: Path) -> None:
    killed = Journal(path)
    write(killed, 0.5, 0.25)
    killed.flush()
    path.write_bytes(path.read_bytes()[:-7])
    again = Journal(path)
    write(again, 0.5, 0.75)
    again.flush()
    assert numbers(Journal(path), 2) == [0.5, 0.75]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_full_disk_refused_is_written_later(path: Path) -> None:
    journal = Journal(path)
    write(journal, 0.5)
    journal.flush()
    write(journal, 0.5, 0.25, 0.125)
    with full_disk(path.stat().st_size + 10), pytest.raises(OSError, match="File too large") as refused:
        journal.flush()
    assert refused.value.errno == errno.EFBIG
    assert numbers(Journal(path), 2) == [0.5, 0.0], "half a line is none"
    journal.flush()
    assert numbers(Journal(path), 3) == [0.5, 0.25, 0.125]


def test_a_journal_that_is_dropped_leaves_no_file_open(path: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        journal = Journal(path)
        write(journal, 0.5)
        journal.flush()
        del journal
        gc.collect()
    assert not [one for one in seen if str(path) in str(one.message)]
