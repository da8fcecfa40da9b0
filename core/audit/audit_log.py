"""The log of an audit: what it has measured so far, so that an audit that was cut off can go on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from circuit_tui.core.audit.finding import AuditSearch, Finding, SearchRun
from circuit_tui.core.jobs.resumable_work import ResumableWork, resumable_steps
from circuit_tui.core.search.search import Search
from circuit_tui.core.views import SearchProgress

FILE_NAME = "measured.jsonl"
TEXT_LINE = "splice-text"
"""The key of the line that rests on a text."""
_FINDING, _RUN = TypeAdapter(Finding), TypeAdapter(SearchRun)


class SearchLog:
    """Keeps the searches of an audit, in its own process or in a worker that makes some of them."""

    def __init__(self, work: ResumableWork) -> None:
        self._work = work

    def steps(self, search: Search, made_for: AuditSearch) -> Iterator[SearchProgress]:
        """Yields the steps of `search`, from where it was cut off."""
        return resumable_steps(search, self._work, made_for.id)

    def add_run(self, run: SearchRun) -> None:
        """Keeps a finished search."""
        _append(self._work, {"run": asdict(run)})


class AuditLog:
    """The measured lines and finished searches of one audit, with those that an earlier process left.

    `inputs` (JSON values) is everything that decides the result: an audit with other inputs has another folder. `text`
    is the hash of the text; the line that rests on a text is taken from an earlier process only if its hash is equal.
    `inputs_0_1` are the inputs as version 0.1 wrote them.

    Attributes:
        findings: the finished lines by key.
        seconds: the time they took.
        searches: keeps the searches.
    """

    def __init__(self, inputs: Mapping[str, Any], text: str = "", inputs_0_1: Mapping[str, Any] | None = None) -> None:
        self._text = text
        self._work = ResumableWork.claim("audit", inputs, inputs_0_1)
        self.findings: dict[str, Finding] = {}
        self.seconds = 0.0
        self.searches = SearchLog(self._work)
        self._runs: dict[AuditSearch, SearchRun] = {}
        self._read_earlier()

    @property
    def folder(self) -> Path | None:
        """The folder in which everything is kept, for workers; None if nothing is kept."""
        return self._work.folder

    def run(self, search: AuditSearch) -> SearchRun | None:
        """Returns the run of `search` if an earlier process finished it, else None."""
        return self._runs.get(search)

    def add_finding(self, finding: Finding, seconds: float) -> None:
        """Keeps a finished line, `seconds` after the beginning of the audit."""
        _append(self._work, {"finding": asdict(finding), "seconds": seconds, "text": self._text})

    def leave(self) -> None:
        """Leaves what is kept to a later process."""
        self._work.leave()

    def done(self) -> None:
        """Deletes what is kept: the audit is stored elsewhere."""
        self._work.done()

    def _read_earlier(self) -> None:
        """Reads what an earlier process wrote, and cuts off an entry that it had not finished writing."""
        path = None if self._work.folder is None else self._work.folder / FILE_NAME
        if path is None or not path.is_file():
            return
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                self._add_entry(json.loads(line) if line.endswith(b"\n") else {})
            except (ValueError, KeyError, TypeError, AttributeError):  # it is measured again
                break
            whole += len(line)
        os.truncate(path, whole)

    def _add_entry(self, entry: Mapping[str, Any]) -> None:
        if "run" in entry:
            run = _RUN.validate_python(entry["run"])
            self._runs[AuditSearch(run.kind, run.seed, run.draw)] = run
        else:
            finding = _FINDING.validate_python(entry["finding"])
            self.seconds = float(entry["seconds"])
            if finding.key != TEXT_LINE or entry["text"] == self._text:
                self.findings[finding.key] = finding


def _append(work: ResumableWork, entry: Mapping[str, Any]) -> None:
    """Adds a line in one write, because several processes may write."""
    if work.folder is None:
        return
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    try:
        with (work.folder / FILE_NAME).open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        work.give_up(error)
