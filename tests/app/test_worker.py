"""The bounded worker: order, places in the queue, and answers that come too late."""

import asyncio
import contextlib
import threading
import time

import pytest

from app.worker import BusyError, LatestWinsWorker, SupersededError
from tests.app.loops import run


@pytest.fixture
def worker():
    made = LatestWinsWorker("test", limit=2)
    yield made
    made.close()


@pytest.fixture
def gate(worker):
    """Keep the worker busy until the event is set."""
    opened, started = threading.Event(), threading.Event()

    def hold():
        started.set()
        return opened.wait(10)

    worker.submit("gate", hold)
    assert started.wait(5)
    yield opened
    opened.set()


def test_answers_in_order(worker):
    done = []
    futures = [worker.submit(key, lambda key=key: done.append(key) or key) for key in "ab"]
    assert [future.result(5) for future in futures] == ["a", "b"]
    assert done == ["a", "b"]


def test_newest_request_of_a_session_wins(worker, gate):
    runs = []
    futures = [worker.submit("a", lambda k=k: runs.append(k) or k) for k in range(50)]
    gate.set()
    assert futures[-1].result(5) == 49
    assert runs == [49]
    for future in futures[:-1]:
        with pytest.raises(SupersededError):
            future.result(5)


def test_an_answer_overtaken_while_it_runs_is_dropped(worker):
    started, go = threading.Event(), threading.Event()

    def slow():
        started.set()
        go.wait(5)
        return "old"

    first = worker.submit("a", slow)
    assert started.wait(5)
    second = worker.submit("a", lambda: "new")
    go.set()
    with pytest.raises(SupersededError):
        first.result(5)
    assert second.result(5) == "new"


def test_a_replaced_request_keeps_its_place(worker, gate):
    order = []
    worker.submit("a", lambda: order.append("a"))
    last = worker.submit("b", lambda: order.append("b"))
    worker.submit("a", lambda: order.append("a2"))
    assert (worker.ahead("a"), worker.ahead("b")) == (1, 2)
    gate.set()
    last.result(5)
    assert order == ["a2", "b"]


def test_urgent_requests_go_first(worker, gate):
    order = []
    slow = worker.submit("slow", lambda: order.append("slow"))
    worker.submit("quick", lambda: order.append("quick"), is_urgent=True)
    assert (worker.ahead("quick"), worker.ahead("slow")) == (1, 2)
    gate.set()
    slow.result(5)
    assert order == ["quick", "slow"]


def test_a_full_queue_says_how_many_wait(worker, gate):
    worker.submit("a", int)
    worker.submit("b", int)
    worker.submit("a", int)
    with pytest.raises(BusyError, match="2 requests") as caught:
        worker.submit("c", int)
    assert caught.value.ahead == 2


def test_a_withdrawn_request_is_not_run(worker, gate):
    runs = []
    future = worker.submit("a", lambda: runs.append(1))
    worker.drop("a")
    gate.set()
    with pytest.raises(SupersededError):
        future.result(5)
    assert worker.submit("b", lambda: "b").result(5) == "b"
    assert runs == []


@pytest.mark.parametrize("act", ["drop", "replace"])
def test_long_work_is_given_up_when_nobody_waits_any_more(worker, act):
    started, steps = threading.Event(), []

    def long():
        for step in range(1000):
            worker.check()
            steps.append(step)
            started.set()
            time.sleep(0.01)

    future = worker.submit("a", long)
    assert started.wait(5)
    if act == "drop":
        worker.drop("a")
    else:
        assert worker.submit("a", lambda: "new").result(5) == "new"
    with pytest.raises(SupersededError):
        future.result(5)
    assert worker.submit("b", lambda: "b").result(5) == "b"
    assert len(steps) < 500


def test_work_that_is_waited_for_goes_on(worker):
    assert worker.submit("a", lambda: worker.check() or "a").result(5) == "a"
    worker.check()


def test_errors_reach_the_one_who_asked(worker):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.submit("a", fail).result(5)
    assert worker.submit("a", lambda: 1).result(5) == 1


def test_a_burst_runs_a_few_times_and_ends_with_the_last_value(worker):
    """50 values in a second over work of 100 ms run one after another, the last drawn last."""
    runs, drawn = [], []

    def work(value):
        time.sleep(0.1)
        runs.append(value)
        return value

    async def ask(value):
        with contextlib.suppress(SupersededError):
            drawn.append(await asyncio.wrap_future(worker.submit("a", lambda: work(value))))

    async def burst():
        tasks = []
        for value in range(50):
            tasks.append(asyncio.ensure_future(ask(value)))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)

    start = time.monotonic()
    run(burst())
    assert drawn[-1] == 49
    assert drawn == sorted(drawn)
    assert len(runs) <= (time.monotonic() - start) / 0.1 + 1
    assert len(runs) < 50
