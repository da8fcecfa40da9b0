"""Counting bytes: the time left, how often it is told, and whence a download can be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from circuit_tui.core.hub import download_progress
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.views import LoadProgress

STAGE = LoadProgress("loading", 2, 7)


class Cancelled(BaseException):
    pass


@pytest.fixture
def every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_progress, "REPORT_EVERY", 0.0)


def test_the_time_left_is_that_of_the_recent_rate() -> None:
    seen: list[LoadProgress] = []
    now = [0.0]
    counter = DownloadProgress(seen.append, STAGE, 1_000_000, clock=lambda: now[0])
    counter.begin("a file", 1_000_000)
    assert seen[-1].seconds_left is None, "nothing is known yet"
    for step in range(1, 21):  # slowly at first
        now[0] += 1
        counter.at(1_000 * step)
    assert seen[-1].seconds_left == pytest.approx(980_000 / 1_000)
    for step in range(1, 13):
        now[0] += 1
        counter.at(20_000 + 50_000 * step)
    assert seen[-1].seconds_left == pytest.approx(380_000 / 50_000)
    assert (seen[-1].bytes_done, seen[-1].bytes_total, seen[-1].text) == (620_000, 1_000_000, "a file")
    shown = len(seen)
    counter.at(620_001)
    assert len(seen) == shown, "no more often than a person can read"


def test_files_are_counted_together() -> None:
    seen: list[LoadProgress] = []
    counter = DownloadProgress(seen.append, STAGE, 300)
    counter.begin("one", 100)
    counter.at(100)
    counter.begin("two", 200)
    assert (seen[-1].text, seen[-1].bytes_done) == ("two", 100)
    counter.notice("connection lost, trying again")
    assert seen[-1].text == "connection lost, trying again: two"
    counter.at(1000)
    assert (seen[-1].text, seen[-1].bytes_done, seen[-1].bytes_total) == ("two", 300, 300)


def test_a_bar_shows_whichever_is_further_bytes_written_or_bytes_received(every_byte: None) -> None:
    seen: list[LoadProgress] = []
    counter = DownloadProgress(seen.append, STAGE, 300)
    counter.begin("one", 300)
    with counter.bar()(total=300, initial=0, desc="one") as bar:
        bar.update_transfer(120)  # nothing is written yet
        assert seen[-1].bytes_done == 120
        bar.update(100)
        assert seen[-1].bytes_done == 120
        bar.update(200)  # compressed, so that less was received than written
        assert seen[-1].bytes_done == 300


def test_what_the_report_raises_ends_the_download_at_once_in_its_own_thread(every_byte: None) -> None:
    counter = DownloadProgress(cancel_beyond(0), STAGE, 300)
    counter.begin("one", 300)
    with pytest.raises(Cancelled):
        counter.at(100)


def test_it_is_raised_later_where_the_file_is_whole() -> None:
    counter = DownloadProgress(cancel_beyond(0), STAGE, 300)
    counter.begin("one", 300)
    counter.at(300)
    with pytest.raises(Cancelled):
        counter.check_cancelled()


def test_in_a_thread_of_hf_xet_its_session_is_aborted(every_byte: None, monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[str] = []
    monkeypatch.setattr("huggingface_hub.utils._xet.abort_xet_session", lambda: aborted.append("now"))
    counter = DownloadProgress(cancel_beyond(0), STAGE, 300)
    counter.begin("one", 300)
    raised: list[BaseException] = []

    def callback() -> None:
        try:
            counter.bar()().update(100)
        except BaseException as error:  # noqa: BLE001 hf_xet would print it and go on
            raised.append(error)

    thread = threading.Thread(target=callback)
    thread.start()
    thread.join()
    assert (aborted, raised) == (["now"], [])
    with pytest.raises(Cancelled):
        counter.check_cancelled()


def cancel_beyond(size: int) -> Callable[[LoadProgress], None]:
    def report(stage: LoadProgress) -> None:
        if (stage.bytes_done or 0) > size:
            raise Cancelled

    return report
