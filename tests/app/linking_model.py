"""What a page must show, worked out with sets and loops; it knows nothing of the page."""

from __future__ import annotations


def is_inside(x, y, corners):
    """Say whether a point lies in an outline, by counting the edges to its right."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossings += 1
    return crossings % 2 == 1


class Tables:
    """What the tables say; short in words, for a failing test shows its arguments."""

    def __init__(self, **found):
        self.__dict__.update(found)


class Expected:
    """What must be selected, and the way back; it knows nothing of the page."""

    def __init__(self, rows, split):
        self.rows = rows
        self.ids, self.split, self.hidden = None, split, frozenset()
        self.focus = None
        self.past, self.future = [], []

    @property
    def universe(self):
        return {i for i, row in self.rows.items() if self.split in {"", row[0]}}

    @property
    def chosen(self):
        return self.universe if self.ids is None else self.ids

    @property
    def visible(self):
        return {i for i in self.universe if self.rows[i][1] not in self.hidden}

    def step(self, **changed):
        self.past.append((self.ids, self.split))
        self.future.clear()
        self.__dict__.update(changed)

    def select(self, ids, modifier=""):
        if modifier == "alt":
            ids = self.chosen - ids
        elif modifier == "shift" and self.ids is not None:
            ids = self.chosen | ids
        self.step(ids=ids & self.universe)

    def travel(self, source, target):
        if source:
            target.append((self.ids, self.split))
            self.ids, self.split = source.pop()
