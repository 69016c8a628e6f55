"""What a browser says of a component's parameters is not taken over."""

from __future__ import annotations

import pytest
from bokeh.document import Document
from panel.custom import JSComponent

import app.dashboard  # noqa: F401 - every component of the page is defined by then
from app.components.gallery import Gallery
from app.components.one_way import OneWay
from app.components.pattern_cards import PatternCards


def _components(of=JSComponent):
    for each in of.__subclasses__():
        yield from ([each] if each.__module__.startswith("app.") else [])
        yield from _components(each)


def test_every_component_of_the_page_is_one_way():
    found = set(_components()) - {OneWay}
    assert len(found) > 15
    assert all(issubclass(each, OneWay) for each in found)
    written = {each.__name__: each._from_browser for each in found if each._from_browser}
    assert written == {"Gallery": ("gallery_large",)}, "each is one more thing to check"


@pytest.mark.parametrize(
    ("component", "name", "forged", "is_taken"),
    [
        (PatternCards, "card_items", [{"id": 99_999}], False),
        (Gallery, "gallery_orders", [{"value": "nope"}], False),
        (Gallery, "gallery_large", True, True),
    ],
)
def test_a_forged_parameter_stays_in_the_browser(component, name, forged, is_taken):
    made = component(lambda _: None)
    before = getattr(made, name)
    data = made.get_root(Document()).data
    setattr(data, name, forged)
    assert getattr(data, name) == forged, "it arrived"
    assert getattr(made, name) == (forged if is_taken else before)


def test_what_python_sets_still_reaches_the_browser():
    made = PatternCards()
    data = made.get_root(Document()).data
    made.card_items = [{"id": 3}]
    assert data.card_items == [{"id": 3}]
