"""Which files are ours, what may be replaced, and one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from circuit_example import example

from circuit_tui.core.atomic_file import check_target
from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.file_kind import file_kind
from circuit_tui.core.outputs.output_file import FOREIGN, ForeignFileError, check_output, claim_output
from circuit_tui.core.runs.results_file import ResultsFile, read_rows

MASKS = json.dumps({"blocks.1.hook_resid_post": [3], "faithfulness": 0.5})
OURS = {
    "circuit file": json.dumps(example()),
    "comparison": json.dumps({"schema": "circuit-tui/comparison/1"}),
    "mask file": MASKS,
}
FOREIGN_FILES = {
    "text": b"words",
    "JSON": b'{"mine": 1}',
    "a schema of others": b'{"schema": "https://example.org"}',
    "a schema that is no text": b'{"schema": {"circuit-tui/circuit/": 1}}',
    "a list": b'["circuit-tui/circuit/2"]',
    "cut off": json.dumps(example()).encode()[:-10],
    "nested": b"[" * 100_000,
    "a circuit in words": b"see circuit-tui/circuit/2",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0",
    "SVG": b'<?xml version="1.0"?><svg/>',
    "PDF": b"%PDF-1.4 /Creator (Matplotlib)",
    "bytes": b"\xff\xfe\0",
}


@pytest.mark.parametrize("kind", OURS)
def test_a_file_of_ours_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "any.name"
    path.write_text(OURS[kind])
    assert file_kind(path) == check_output(path) == kind


@pytest.mark.parametrize("kind", FOREIGN_FILES)
def test_a_foreign_file_needs_force(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(FOREIGN_FILES[kind])
    assert file_kind(path) is None
    with pytest.raises(ForeignFileError, match=r"c\.json: there is a file that circuit-tui did not write; --force"):
        check_output(path)
    assert check_output(path, force=True) == FOREIGN
    assert path.read_bytes() == FOREIGN_FILES[kind]
    assert [each.name for each in tmp_path.iterdir()] == ["c.json"]


def test_no_file_and_an_empty_one_are_nothing_to_replace(tmp_path: Path) -> None:
    assert check_output(tmp_path / "c.json") is None
    (tmp_path / "c.json").touch()
    assert check_output(tmp_path / "c.json") is None


def test_databases_are_known_by_their_application(tmp_path: Path) -> None:
    ours, other = tmp_path / "r.sqlite", tmp_path / "o.sqlite"
    ResultsFile(ours).close()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert check_output(ours) == "results file"
    with pytest.raises(ForeignFileError):
        check_output(other)
    ResultsFile(other, replace=True).close()
    assert read_rows(other) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["o.sqlite", "r.sqlite"]


def test_a_folder_that_takes_no_files_is_noticed() -> None:
    """`access` says that root may write there."""
    with pytest.raises(UserError, match="cannot write: the folder /proc takes no files"):
        check_target(Path("/proc/x.json"))


def test_a_name_too_long_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write: File name too long"):
        check_target(tmp_path / ("c" * 300))
    check_target(tmp_path / ("c" * 250))
    assert list(tmp_path.iterdir()) == []


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path, link = tmp_path / "c.json", tmp_path / "link.json"
    link.symlink_to(path)
    (tmp_path / "c.json.lock").write_text("of another program")
    lock = claim_output(path)
    for same in (path, link):
        with pytest.raises(UserError, match=rf"another process \({os.getpid()}\) is writing to it"):
            claim_output(same)
    claim_output(tmp_path / "other.json").release()
    lock.release()
    claim_output(path).release()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.json.lock", "link.json"]
    assert (tmp_path / "c.json.lock").read_text() == "of another program"


def test_the_lock_of_a_killed_process_holds_nobody_back(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from circuit_tui.core.outputs.output_file import claim_output\n"
        "lock = claim_output(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir())
    claim_output(path).release()
    assert not list(tmp_path.iterdir())
