"""Forged messages of an upload end in a sentence, never in harm."""

import math
import time

import pytest

from app.uploads import ACCEPTED, MAX_BYTES, MAX_CHUNK_BYTES
from tests.app.nasty import Session, works


@pytest.fixture
def session():
    return Session()


BEGIN = {"kind": "begin", "name": "cat.png", "size": 1000, "chunks": 2}
GOOD = "aGVsbG8="
FORGED = {
    "no dictionary": [["begin"]],
    "nothing": [None],
    "no kind": [{}],
    "another kind": [{"kind": "__init__"}],
    "kind is a list": [{"kind": ["begin"]}],
    "chunk first": [{"kind": "chunk", "index": 0, "data": GOOD}],
    "index twice": [BEGIN, *2 * [{"kind": "chunk", "index": 0, "data": GOOD}]],
    "index too far": [BEGIN, {"kind": "chunk", "index": 1, "data": GOOD}],
    "index below": [BEGIN, {"kind": "chunk", "index": -1, "data": GOOD}],
    "index is true": [
        BEGIN,
        {"kind": "chunk", "index": 0, "data": GOOD},
        {"kind": "chunk", "index": True, "data": GOOD},
    ],
    "index is text": [BEGIN, {"kind": "chunk", "index": "0", "data": GOOD}],
    "index is NaN": [BEGIN, {"kind": "chunk", "index": math.nan, "data": GOOD}],
    "no index": [BEGIN, {"kind": "chunk", "data": GOOD}],
    "data is no text": [BEGIN, {"kind": "chunk", "index": 0, "data": [1, 2]}],
    "data is bytes": [BEGIN, {"kind": "chunk", "index": 0, "data": b"aGVsbG8="}],
    "no data": [BEGIN, {"kind": "chunk", "index": 0}],
    "empty data": [BEGIN, {"kind": "chunk", "index": 0, "data": ""}],
    "no base64": [BEGIN, {"kind": "chunk", "index": 0, "data": "a!b?"}],
    "half base64": [BEGIN, {"kind": "chunk", "index": 0, "data": "aGVsb"}],
    "not ASCII": [BEGIN, {"kind": "chunk", "index": 0, "data": "ü" * 8}],
    "more than declared": [
        {**BEGIN, "size": 3, "chunks": 1},
        {"kind": "chunk", "index": 0, "data": GOOD},
    ],
    "less than declared": [
        {**BEGIN, "size": 9, "chunks": 1},
        {"kind": "chunk", "index": 0, "data": GOOD},
    ],
    "large piece": [
        {**BEGIN, "size": 10**6, "chunks": 4},
        {"kind": "chunk", "index": 0, "data": "A" * (4 * MAX_CHUNK_BYTES // 3 + 8)},
    ],
    "50 MB piece": [
        {**BEGIN, "size": 10**7, "chunks": 100},
        {"kind": "chunk", "index": 0, "data": "A" * 50_000_000},
    ],
    "50 MB": [{**BEGIN, "size": 50_000_000, "chunks": 300}],
    "one byte too many": [{**BEGIN, "size": MAX_BYTES + 1, "chunks": 100}],
    "10^9 pieces": [{**BEGIN, "chunks": 10**9}],
    "pieces that cannot hold it": [{**BEGIN, "size": 10**6, "chunks": 1}],
    "no pieces": [{**BEGIN, "chunks": 0}],
    "more pieces than bytes": [{**BEGIN, "size": 5, "chunks": 6}],
    **{
        f"{key} is {value!r}": [{**BEGIN, key: value}]
        for key in ("size", "chunks")
        for value in (-1, 0, math.nan, math.inf, 1e308, True, None, "7", [7], {"a": 7}, 1.5)
    },
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_is_refused_in_a_sentence(session, name):
    started = time.process_time()
    for message in FORGED[name]:
        session.receiver.receive(message)
    assert time.process_time() - started < 0.5
    assert not session.images
    assert len(session.errors) == 1
    error = session.errors[0]
    assert error.endswith(ACCEPTED)
    assert error.removesuffix(ACCEPTED).endswith(". ")
    assert len(error) < 300
    assert session.receiver.held_bytes == 0
    assert works(session)


def test_a_refused_upload_takes_no_more_pieces(session):
    session.begin(1000, 2)
    session.chunk(1, b"x")
    session.chunk(0, b"x" * 500)
    session.chunk(1, b"x" * 500)
    assert len(session.errors) == 3
    assert not session.images
