"""Names of patterns on the page and in addresses: every one is read back, nothing else is read."""

import pytest

from app import pattern_key


@pytest.mark.parametrize("key", [0, 17, 123456, ((0, 3), (5, 511)), ((1, 0), (2, 0), (19, 7))])
def test_a_name_is_read_back(key):
    assert pattern_key.read(pattern_key.text_of(key)) == key
    assert pattern_key.read(pattern_key.card_id(key)) == key


def test_the_words_of_a_name():
    assert pattern_key.text_of(((0, 12), (3, 5))) == "0.12-3.5"
    assert pattern_key.card_id(7) == 7


@pytest.mark.parametrize(
    "value",
    [
        None, True, -1, 1.0, "", "-1", "1.2", "1.2-", "1.2-1.3", "2.1-1.2", "1.2-2", "a.b-c.d",
        "0.1-1.-2", "0.1-1.1.1", "0.1-\u0661.2", "0.1-1234567890.2", "\u0663", [1], ((0, 1),),
        "-".join(f"{layer}.0" for layer in range(65)), "0.1-1.2" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_name_is_not_read(value):
    assert pattern_key.read(value) is None
