"""Text and numbers from outside."""

from __future__ import annotations

import math
import sys
import unicodedata

import pytest

from app import safe

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onload='x",
    "<script>alert(1)</script>",
    "&lt;b&gt;",
)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_labels_cannot_leave_their_element_or_attribute(payload):
    shown = safe.label(payload)
    assert not set("<>\"'") & set(shown)


def test_control_characters_and_overrides_are_gone():
    assert safe.plain("a\x00b\u202ec\n d\ud800\tE") == "abc d E"


def test_every_character_is_kept_made_a_space_or_left_out():
    """As Unicode's own table of categories has it, character by character."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if character.isspace():
            expected = "a b"
        elif unicodedata.category(character).startswith("C"):
            expected = "ab"
        else:
            expected = f"a{character}b"
        assert safe.plain(f"a{character}b") == expected, hex(number)


def test_long_names_are_cut():
    assert len(safe.plain("x" * 5000)) == safe.LABEL_LENGTH
    assert safe.plain("x" * 5000).endswith("…")
    assert safe.plain(None) == ""


@pytest.mark.parametrize("forged", [math.nan, math.inf, -math.inf, "3", None, True, [1], 10**400])
def test_what_is_no_number_is_refused(forged):
    assert safe.number(forged, 0, 1) is None or forged == 10**400
    assert safe.integer(forged, 0, 10) is None


def test_numbers_are_clamped_and_ids_are_not():
    assert safe.number(1e308, 0, 1) == 1
    assert safe.number(-5, 0, 1) == 0
    assert safe.integer(11, 0, 10) is None
    assert safe.integer(3.0, 0, 10) == 3
    assert safe.integer(3.5, 0, 10) is None


@pytest.mark.parametrize(
    ("xs", "ys"),
    [
        (None, None),
        ([0, 1], [0, 1]),
        ([0, 1, 2], [0, 1]),
        ([0, 1, math.nan], [0, 1, 2]),
        ([0, 1, "x"], [0, 1, 2]),
        ([0] * 20_000, [0] * 20_000),
    ],
)
def test_what_is_no_polygon_is_refused(xs, ys):
    assert safe.polygon(xs, ys) is None


def test_a_polygon_is_kept():
    assert safe.polygon([0, 1, 1], [0, 0, 1]) == ((0, 0), (1, 0), (1, 1))
