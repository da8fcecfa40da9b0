"""Who gets which order: with a pool that does what the test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.workers.pool import Done, Event, Failed, Lost, Step
from circuit_tui.core.workers.scheduler import MAX_LOSSES, Ended, Scheduler


@dataclass(frozen=True)
class Order:
    id: str


class Pool:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.started = 0
        self.stopped: list[int] = []
        self.given: list[tuple[int, str]] = []

    def start(self) -> int:
        self.started += 1
        return self.started

    def pid(self, worker: int) -> int:
        return worker

    def submit(self, worker: int, order: Order) -> None:
        self.given.append((worker, order.id))

    def events(self, seconds: float) -> list[Event[str]]:
        raise AssertionError("the scheduler is told what has happened")

    def stop(self, worker: int) -> None:
        self.stopped.append(worker)

    def close(self) -> None:
        raise AssertionError("a pool is closed by whoever made it")


def orders(names: str) -> list[Order]:
    return [Order(name) for name in names]


def test_no_more_workers_than_jobs_and_an_idle_one_gets_the_next_order() -> None:
    pool = Pool()
    scheduler = Scheduler[Order, str](orders("abc"), pool, 2)
    assert scheduler.assign()
    assert pool.given == [(1, "a"), (2, "b")]
    assert not scheduler.assign(), "all are busy"
    assert scheduler.handle(Step(1, 3, 9)) is None
    assert (scheduler.busy[1].step, scheduler.busy[1].steps) == (3, 9)
    assert scheduler.handle(Done(2, "found")) == Ended(Order("b"), "found")
    assert scheduler.assign()
    assert pool.given[-1] == (2, "c")
    assert (pool.started, pool.stopped) == (2, [])


def test_a_worker_for_which_nothing_is_left_is_stopped() -> None:
    pool = Pool()
    scheduler = Scheduler[Order, str](orders("ab"), pool, 2)
    scheduler.assign()
    assert scheduler.handle(Failed(1, "no", "trace")) == Ended(Order("a"), None, "no", "trace")
    assert not scheduler.finished
    assert not scheduler.assign()
    assert pool.stopped == [1]
    scheduler.handle(Done(2, "found"))
    assert scheduler.finished


def test_an_order_whose_worker_is_lost_goes_to_a_new_one_and_fails_in_the_end() -> None:
    pool = Pool()
    scheduler = Scheduler[Order, str](orders("ab"), pool, 1)
    for worker in range(1, MAX_LOSSES):
        scheduler.assign()
        assert pool.given[-1] == (worker, "a")
        assert scheduler.handle(Lost(worker, "it was killed")) is None
    scheduler.assign()
    ended = scheduler.handle(Lost(MAX_LOSSES, "it was killed"))
    assert ended == Ended(Order("a"), None, f"it was killed, {MAX_LOSSES} times")
    scheduler.assign()
    assert pool.given[-1] == (MAX_LOSSES + 1, "b")


def test_an_idle_worker_that_is_lost_is_given_nothing() -> None:
    pool = Pool()
    scheduler = Scheduler[Order, str](orders("ab"), pool, 1)
    scheduler.assign()
    scheduler.handle(Done(1, "found"))
    assert scheduler.handle(Lost(1, "it was killed")) is None
    scheduler.assign()
    assert pool.given == [(1, "a"), (2, "b")]
    assert pool.stopped == []


def test_whoever_chooses_knows_what_the_worker_did_and_what_the_others_do() -> None:
    pool, seen = Pool(), []

    def choose(pending: Sequence[Order], last: Order | None, others: Sequence[Order]) -> Order:
        seen.append(("".join(one.id for one in pending), last and last.id, "".join(one.id for one in others)))
        return pending[-1]

    scheduler = Scheduler[Order, str](orders("abc"), pool, 2, choose)
    scheduler.assign()
    scheduler.handle(Done(1, "found"))
    scheduler.assign()
    assert seen == [("abc", None, ""), ("ab", None, "c"), ("a", "c", "b")]
    assert pool.given == [(1, "c"), (2, "b"), (1, "a")]
