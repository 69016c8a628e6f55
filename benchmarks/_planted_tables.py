"""The tables of the planted-bias benchmark, made of what was found of every network."""

from __future__ import annotations

from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from benchmarks._planted_images import KINDS
from benchmarks._planted_networks import LEARNT
from benchmarks._report import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Found = dict[str, Any]
"""What ``examine`` returns of a network."""

COLUMNS = (*KINDS, "several")
DECLARED = 0.05
TOP = 5


class Tables:
    """Tables in Markdown and rows of figures, from the same numbers.

    Parameters
    ----------
    found : sequence of dict
        Of ``examine``, one for each network.

    Attributes
    ----------
    rows : list of Row
        Filled while the text is made.
    """

    def __init__(self, found: Sequence[Found]) -> None:
        self._found = list(found)
        self.rows: list[Row] = []

    def text(self) -> str:
        """Return all tables, with what they show above each."""
        parts = (
            ("Networks", self._networks()),
            ("Lists of the whole data set", self._lists("whole")),
            ("Behind one kind of error", self._lists("cells")),
            ("Reports and false alarms", self._alarms()),
            ("Errors permuted within their true class", self._permuted()),
            ("Filters of the first confirmed pattern, replaced", self._ablation()),
            ("Names by pixels", self._names()),
        )
        return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts if table)

    def _row(self, name: str, value: float, unit: str, against: str, goal: str = "") -> None:
        self.rows.append(Row(name=name, value=value, unit=unit, against=against, goal=goal))

    def _networks(self) -> str:
        lines = []
        for mode in ("shortcut", "independent", "none"):
            for column in (*COLUMNS, ""):
                some = [each for each in self._found if _place(each) == (mode, column)]
                if not some:
                    continue
                cues = [cue for each in some for cue in each["cues"]]
                flips = [cue["flips"] for cue in cues]
                learnt = sum(value >= LEARNT for value in flips)
                span = f"{mean(flips):.2f} ({min(flips):.2f} to {max(flips):.2f})" if cues else ""
                accuracy = mean(each["accuracy"] for each in some)
                known = f"{learnt} of {len(cues)}" if cues else ""
                lines.append(
                    [mode, column, str(len(some)), f"{accuracy:.2f}", known, span],
                )
                self._row(f"networks/{mode}/{column or 'none'}", len(some), "", "networks trained")
                if cues:
                    name = f"learnt/{mode}/{column}"
                    self._row(name, learnt / len(cues), "share", f"cues that flip {LEARNT:g}")
        head = ["training", "cue", "networks", "test accuracy", "cues learnt", "share flipped"]
        return _table(head, lines)

    def _lists(self, part: str) -> str:
        scored = [each for each in self._found if each[part]]
        if not scored:
            return ""
        ways = list(_lists_of(scored[0], part)[0])
        head = ["list", *COLUMNS, "all, @5", "@1", "@10", "covered", "answers", "right of shown"]
        lines = []
        for way in ways:
            cells = []
            for column in COLUMNS:
                some = [each for each in scored if _place(each)[1] == column]
                cells.append(_figure([_mean(each, part, way, _at(5)) for each in some]))
            values = {
                "precision@5": [_mean(each, part, way, _at(5)) for each in scored],
                "precision@1": [_mean(each, part, way, _at(1)) for each in scored],
                "precision@10": [_mean(each, part, way, _at(10)) for each in scored],
                "covered@5": [_mean(each, part, way, _covered) for each in scored],
            }
            lists = [entry[way] for each in scored for entry in _lists_of(each, part)]
            shown = [hit for entry in lists for hit in entry["hits"][:TOP]]
            right = mean(shown) if shown else 0.0
            answered = [bool(entry["hits"]) for entry in lists]
            self._row(f"right of shown/{part}/{way}", right, "", f"{len(shown)} suspects")
            self._row(f"answers/{part}/{way}", mean(answered), "share", f"{len(answered)} lists")
            for name, figures in values.items():
                self._row(f"{name}/{part}/{way}", mean(figures), "", f"{len(figures)} networks")
            at5, *others = values.values()
            spread = f" ± {stdev(at5) / len(at5) ** 0.5:.2f}" if len(at5) > 1 else ""
            cells.append(f"{mean(at5):.2f}{spread}")
            cells += [_figure(figures) for figures in others]
            cells.append(_of(answered))
            cells.append(f"{right:.2f} of {len(shown)}" if shown else "")
            lines.append([way, *cells])
        return _table(head, lines)

    def _alarms(self) -> str:
        groups: dict[str, Callable[[Found], bool]] = {
            "shortcut": lambda each: each["plan"]["mode"] == "shortcut",
            "independent cue": lambda each: each["plan"]["mode"] == "independent",
            "no cue": lambda each: each["plan"]["mode"] == "none",
        }
        head = ["list", *(f"{name}: kinds of errors" for name in groups)]
        head += ["independent cue: blames it", "clean networks with any report"]
        some = next((each for each in self._found if each["reports"]), None)
        if some is None:
            return ""
        lines = []
        for way in some["reports"][0]["reported"]:
            line = [way]
            for name, belongs in groups.items():
                asked = [r for each in self._found if belongs(each) for r in each["reports"]]
                line.append(self._share(f"reported/{name}/{way}", asked, "reported", way))
            fair = [each for each in self._found if groups["independent cue"](each)]
            asked = [report for each in fair for report in each["reports"]]
            line.append(self._share(f"blamed/independent cue/{way}", asked, "blamed", way))
            clean = [each for each in self._found if each["plan"]["mode"] != "shortcut"]
            loud = [any(r["reported"][way] for r in each["reports"]) for each in clean]
            line.append(_of(loud))
            lines.append(line)
        for way in some["wrong"]:
            line = [way]
            for name, belongs in groups.items():
                asked = [each["wrong"] for each in self._found if belongs(each)]
                said = [entry[way]["reported"] for entry in asked]
                if said:
                    self._row(f"reported/{name}/{way}", mean(said), "share", f"{len(said)}")
                line.append(_of(said))
            fair = [each["wrong"][way] for each in self._found if groups["independent cue"](each)]
            line.append(_of([entry["blamed"] for entry in fair]))
            clean = [each for each in self._found if each["plan"]["mode"] != "shortcut"]
            line.append(_of([each["wrong"][way]["reported"] for each in clean]))
            lines.append(line)
        return _table(head, lines)

    def _share(self, name: str, asked: Sequence[Found], key: str, way: str) -> str:
        said = [entry[key][way] for entry in asked]
        if said:
            self._row(name, mean(said), "share", f"{len(said)} kinds of errors")
        return _of(said)

    def _permuted(self) -> str:
        some = [each for each in self._found if each["permuted"]]
        if not some:
            return ""
        lines = []
        for way in some[0]["permuted"]:
            runs = [(each, each["permuted"][way]) for each in some]
            lines.append(self._permuted_line(way, runs, goal=f"<= {DECLARED:g}"))
        for way in some[0]["wrong"]:
            runs = [(each, each["wrong"][way]["permuted"]) for each in some]
            lines.append(self._permuted_line(way, runs, goal=""))
        head = ["list", "searches", "found on one half", "reported", "share"]
        return _table([*head, "after a shortcut", "clean", "most of one network"], lines)

    def _permuted_line(
        self, way: str, runs: Sequence[tuple[Found, Found]], *, goal: str
    ) -> list[str]:
        n, reported = (sum(run[key] for _, run in runs) for key in ("n", "n_reported"))
        shares = [
            [
                run["n_reported"] / run["n"]
                for each, run in runs
                if (each["plan"]["mode"] == "shortcut") == is_after_one
            ]
            for is_after_one in (True, False)
        ]
        against = f"{n:,} searches in {len(runs)} networks, errors permuted"
        self._row(f"permuted/{way}", reported / n, "share", against, goal)
        for name, values in zip(("shortcut", "clean"), shares, strict=True):
            if values:
                self._row(f"permuted, {name}/{way}", mean(values), "share", f"{len(values)}")
        halves = [run["n_found"] for _, run in runs if "n_found" in run]
        return [
            way,
            f"{n:,}",
            f"{sum(halves):,}" if halves else "",
            f"{reported:,}",
            f"{reported / n:.4f}",
            *(f"{mean(values):.4f}" if values else "" for values in shares),
            f"{max(run['n_reported'] / run['n'] for _, run in runs):.3f}",
        ]

    def _ablation(self) -> str:
        entries = [
            (name, entry)
            for each in self._found
            for cell in each["cells"]
            for name, entry in cell.get("ablation", {}).items()
        ]
        lines = []
        for name in dict.fromkeys(name for name, _ in entries):
            some = [entry for other, entry in entries if other == name]
            verdicts = [entry["verdict"] for entry in some]
            flips = mean(entry["flips"] for entry in some)
            random = mean(entry["random_flips"] for entry in some)
            repaired = mean(entry["repaired"] for entry in some)
            lines.append(
                [
                    name,
                    f"{mean(entry['filters'] for entry in some):.1f}",
                    str(len(some)),
                    *(str(verdicts.count(word)) for word in ("cause", "marker", "cannot tell")),
                    f"{flips:.2f}",
                    f"{random:.2f}",
                    f"{repaired:.2f}",
                ]
            )
            self._row(f"ablation flips/{name}", flips, "share", f"random filters {random:.3f}")
            self._row(
                f"ablation cause/{name}", verdicts.count("cause") / len(some), "share",
                f"{len(some)} patterns",
            )  # fmt: skip
        head = ["filters", "number", "patterns", "cause", "marker", "cannot tell"]
        head += ["flipped", "by random filters", "right then"]
        return _table(head, sorted(lines)) if lines else ""

    def _names(self) -> str:
        cells = [cell for each in self._found for cell in each["cells"]]
        ways = dict.fromkeys(way for cell in cells for way in cell["named"])
        lines = []
        for way in ways:
            line = [way]
            for kind in KINDS:
                named = [
                    cell["named"][way]
                    for cell in cells
                    if cell["kind"] == kind and way in cell["named"]
                ]
                line.append(_of([entry["is_right"] for entry in named]))
                if named:
                    name = f"named/{kind}/{way}"
                    share = mean(entry["is_right"] for entry in named)
                    self._row(name, share, "share", f"{len(named)} kinds of errors")
            lines.append(line)
        return _table(["set of images", *KINDS], lines) if lines else ""


def _place(each: Found) -> tuple[str, str]:
    """Return the mode of a network and the column that it belongs to."""
    kinds = each["plan"]["kinds"]
    column = "several" if len(kinds) > 1 else "".join(kinds)
    return each["plan"]["mode"], column


def _lists_of(each: Found, part: str) -> list[dict[str, Any]]:
    if part == "whole":
        return [each["whole"]]
    return [cell["ways"] for cell in each["cells"]]


def _mean(each: Found, part: str, way: str, of: Callable[[Found], float]) -> float:
    """Average over the questions of a network: no network counts twice."""
    return mean(of(lists[way]) for lists in _lists_of(each, part))


def _at(depth: int) -> Callable[[Found], float]:
    def precision(entry: Found) -> float:
        first = entry["hits"][:depth]
        return sum(first) / len(first) if first else 0.0

    return precision


def _covered(entry: Found) -> float:
    return float(entry["covered"])


def _figure(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}" if values else ""


def _of(said: Sequence[bool]) -> str:
    return f"{sum(said)} of {len(said)}" if said else ""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
