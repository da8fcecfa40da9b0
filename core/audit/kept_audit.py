"""What an audit has measured so far, written down line by line and search by search, so that it can be cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from circuit_tui.core.audit.finding import Finding, SearchRun
from circuit_tui.core.jobs.unfinished import Unfinished, kept_steps
from circuit_tui.core.search.search import Search
from circuit_tui.core.snapshot import SearchProgress

DONE, ON_TEXT = "measured.jsonl", "splice-text"
_FINDING, _RUN = TypeAdapter(Finding), TypeAdapter(SearchRun)


class KeptAudit:
    """The measured lines and finished searches of one audit; what an earlier process had of it is there at once.

    `what` (JSON values) decides what comes of the audit: an audit of anything else has another folder. The line that
    rests on a text is taken up if that has the same hash, `text`.

    Attributes:
        findings: the finished lines by key.
        seconds: how long they took.
    """

    def __init__(self, what: Mapping[str, Any], text: str = "") -> None:
        self._text = text
        self._work = Unfinished("audit", what)
        self.findings: dict[str, Finding] = {}
        self.seconds = 0.0
        self._runs: dict[tuple[str, int, int], SearchRun] = {}
        self._take_up()

    def run(self, kind: str, seed: int, draw: int) -> SearchRun | None:
        """That search, if it is finished."""
        return self._runs.get((kind, seed, draw))

    def steps(self, search: Search, kind: str, seed: int, draw: int) -> Iterator[SearchProgress]:
        """The steps of that search, from where it was cut off."""
        return kept_steps(search, self._work, f"{kind}-{seed}-{draw}")

    def add_finding(self, finding: Finding, seconds: float) -> None:
        """Keeps a finished line, `seconds` after the audit was begun."""
        self._write({"finding": asdict(finding), "seconds": seconds, "text": self._text})

    def add_run(self, run: SearchRun) -> None:
        """Keeps a finished search."""
        self._write({"run": asdict(run)})

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
            self._runs[run.kind, run.seed, run.draw] = run
        else:
            finding = _FINDING.validate_python(entry["finding"])
            self.seconds = float(entry["seconds"])
            if finding.key != ON_TEXT or entry["text"] == self._text:
                self.findings[finding.key] = finding

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._work.folder is None:
            return
        try:
            with (self._work.folder / DONE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            self._work.give_up(error)
