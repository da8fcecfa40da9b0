"""What an audit has measured so far, written down line by line and search by search, so that it can be cut off."""

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

DONE, ON_TEXT = "measured.jsonl", "splice-text"
_FINDING, _RUN = TypeAdapter(Finding), TypeAdapter(SearchRun)


class SearchLog:
    """What is kept of the searches of an audit, by its own process or by one that makes some of them for it."""

    def __init__(self, work: ResumableWork) -> None:
        self._work = work

    def steps(self, search: Search, made_for: AuditSearch) -> Iterator[SearchProgress]:
        """The steps of `search`, from where it was cut off."""
        return resumable_steps(search, self._work, made_for.id)

    def add_run(self, run: SearchRun) -> None:
        """Keeps a finished search."""
        _append(self._work, {"run": asdict(run)})


class AuditLog:
    """The measured lines and finished searches of one audit; what an earlier process had of it is there at once.

    `what` (JSON values) decides what comes of the audit: an audit of anything else has another folder. The line that
    rests on a text is taken up if that has the same hash, `text`.

    Attributes:
        findings: the finished lines by key.
        seconds: how long they took.
        searches: keeps the searches.
    """

    def __init__(self, what: Mapping[str, Any], text: str = "") -> None:
        self._text = text
        self._work = ResumableWork.claim("audit", what)
        self.findings: dict[str, Finding] = {}
        self.seconds = 0.0
        self.searches = SearchLog(self._work)
        self._runs: dict[AuditSearch, SearchRun] = {}
        self._take_up()

    @property
    def folder(self) -> Path | None:
        """Where all of it is kept, for processes that help with it; None where nothing is."""
        return self._work.folder

    def run(self, search: AuditSearch) -> SearchRun | None:
        """What came of `search`, if that was finished when the audit was begun again."""
        return self._runs.get(search)

    def add_finding(self, finding: Finding, seconds: float) -> None:
        """Keeps a finished line, `seconds` after the audit was begun."""
        _append(self._work, {"finding": asdict(finding), "seconds": seconds, "text": self._text})

    def leave(self) -> None:
        """Leaves what there is for whoever goes on."""
        self._work.leave()

    def done(self) -> None:
        """The audit is written down elsewhere."""
        self._work.done()

    def _take_up(self) -> None:
        """Takes what an earlier process wrote down, and cuts off what it had not finished writing."""
        path = None if self._work.folder is None else self._work.folder / DONE
        if path is None or not path.is_file():
            return
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                self._take(json.loads(line) if line.endswith(b"\n") else {})
            except (ValueError, KeyError, TypeError, AttributeError):  # measured again
                break
            whole += len(line)
        os.truncate(path, whole)

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "run" in entry:
            run = _RUN.validate_python(entry["run"])
            self._runs[AuditSearch(run.kind, run.seed, run.draw)] = run
        else:
            finding = _FINDING.validate_python(entry["finding"])
            self.seconds = float(entry["seconds"])
            if finding.key != ON_TEXT or entry["text"] == self._text:
                self.findings[finding.key] = finding


def _append(work: ResumableWork, entry: Mapping[str, Any]) -> None:
    """Adds a line in one go: several processes may do so."""
    if work.folder is None:
        return
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    try:
        with (work.folder / DONE).open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        work.give_up(error)
