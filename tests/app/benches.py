"""Ask the testing view without a browser, and read what it draws."""

from tests.app.loops import run

FOCUS = 1600


def settle(view):
    run(view.answer())


def figures(view):
    return view._bench.bench_view


def evidence(view):
    return view._bench.bench_evidence


def curves(view):
    return view._bench.bench_curves


def send(view, kind, **message):
    view._receive({"kind": kind, **message})
    settle(view)
