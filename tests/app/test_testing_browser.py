"""The testing view in real Chromium: curves, attack, explanations, uploads, links, finder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import WIDE, drag, selected_count, text_of, wait_for
from tests.app.test_views_browser import pixels, press, settle, value

pytestmark = pytest.mark.browser

IMAGE = 1600
EVIDENCE = "select[aria-label='Explanation and layer of the evidence']"


@pytest.fixture
def wide(digits_server, open_page):
    """Return the page on a wide screen, its curves drawn."""
    page = open_page(digits_server.url, size=WIDE, query=f"?image={IMAGE}")
    page.wait_for_selector(".bench[data-stage=ready]")
    settle(page)
    wait_for(lambda: page.locator(".curve svg").count() == 5, what="five curves")
    return page


def address(page):
    return page.evaluate("location.search")


def picture(side=48):
    noise = np.random.default_rng(3).integers(0, 255, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    return {"name": "<b>noise<i>.png", "mimeType": "image/png", "buffer": out.getvalue()}


def test_the_handle_of_a_curve_moves_the_image(wide):
    before = pixels(wide, "changed")
    box = wide.locator(".curve[data-name=hue] .pl").bounding_box()
    y = box["y"] + box["height"] / 2
    places = [box["x"] + share * box["width"] for share in (0.5, 0.6, 0.7, 0.8)]
    drag(wide, [(x, y) for x in places])
    settle(wide)
    assert 0.2 < float(value(wide, "hue").replace("+", "")) < 0.4
    wait_for(lambda: pixels(wide, "changed") != before, what="the changed picture")
    wait_for(lambda: "hue:" in address(wide), what="the address")


def test_curves_name_the_smallest_flips_and_go_there(wide):
    heads = wide.locator(".curve .flip")
    wait_for(lambda: all(text for text in heads.all_inner_texts()), what="flips of five curves")
    for text in heads.all_inner_texts():
        assert text == "no flip" or text.startswith("▼ ")
    flip = wide.locator(".curve .flip:not(:disabled)").first
    said = flip.inner_text().removeprefix("▼ ")
    flip.click()
    wait_for(lambda: "prediction flipped" in text_of(wide, ".headline"), what="the flip")
    wide.locator("[data-action=reset]").click()
    name = wide.locator(".curve:has(.flip:not(:disabled))").first.get_attribute("data-name")
    slider = wide.locator(f".sl[data-name={name}] input[type=range]")
    slider.focus()
    # What is typed on the slider begins a typed value, and does not snap to its steps.
    wide.keyboard.type(said.replace("−", "-").rstrip("°%px ").removesuffix("/255"))
    wide.keyboard.press("Enter")
    wait_for(lambda: "prediction flipped" in text_of(wide, ".headline"), what="the typed flip")


def test_brackets_step_through_the_layers_with_a_map(wide):
    def layer():
        return wide.locator(EVIDENCE).input_value()

    wait_for(lambda: layer() == "grad_cam|features.17", what="the default layer")
    wide.locator(".headline").click()
    wide.keyboard.press("[")
    wait_for(lambda: layer() == "grad_cam|features.14", what="the layer before")
    for _ in range(4):
        wide.keyboard.press("]")
    wait_for(lambda: layer() == "grad_cam|features.17", what="the last layer with a map")
    settle(wide)
    assert layer() == "grad_cam|features.17"


def test_maximised_it_shows_every_curve_and_what_is_held(wide):
    press(wide, "rotation", "ArrowRight", 30)
    wide.locator(".hold").click()
    wide.locator("[data-action=reset]").click()
    wait_for(lambda: value(wide, "rotation") == "0°", what="the reset")
    wide.get_by_label("Maximise Test").click()
    wait_for(lambda: wide.locator(".curve").count() == 11, what="every curve")
    wait_for(lambda: wide.locator(".curve svg").count() == 11, what="every curve drawn")
    case = wide.locator(".case")
    assert "Rotation +30°" in case.inner_text()
    case.get_by_role("button", name="Open").click()
    wait_for(lambda: value(wide, "rotation") == "+30°", what="the case that was held")
    case.get_by_role("button", name="Let go").click()
    wait_for(lambda: wide.locator(".case").count() == 0, what="nothing held")


def test_an_attack_says_what_it_pushes_from_and_fills_what_they_fill(wide):
    press(wide, "fgsm", "ArrowRight", 16)
    assert value(wide, "fgsm") == "4/255"
    wait_for(lambda: "pushes away from" in text_of(wide, ".attack"), what="the attacked class")
    box = wide.locator(".im.original").bounding_box()
    drag(wide, [(box["x"] + u * box["width"], box["y"] + u * box["height"]) for u in (0.2, 0.6)])
    wide.wait_for_selector(".gone")
    settle(wide)
    grey = pixels(wide, "changed")
    wide.get_by_label("Fill of removed regions").select_option("black")
    wait_for(lambda: pixels(wide, "changed") != grey, what="the other fill")
    wait_for(lambda: "fill=black" in address(wide), what="the address")
    press(wide, "rotation", "ArrowRight", 20)
    black = pixels(wide, "changed")
    wide.get_by_label("Corners that a rotation turns in").select_option("mirror")
    wait_for(lambda: pixels(wide, "changed") != black, what="the mirrored corners")


def test_every_explanation_is_drawn_and_checked_with_random_weights(wide):
    groups = wide.locator(f"{EVIDENCE} optgroup")
    names = [groups.nth(k).get_attribute("label") for k in range(groups.count())]
    assert names == [
        "Grad-CAM", "Grad-CAM++", "HiResCAM", "LayerCAM", "Integrated gradients", "Occlusion",
    ]  # fmt: skip
    for name in names:
        chosen = groups.filter(has=wide.locator("option")).nth(names.index(name))
        wide.locator(EVIDENCE).select_option(chosen.locator("option").first.get_attribute("value"))
        label = f"Evidence ({name}"
        evidence = wide.locator(".im.evidence canvas").first
        wait_for(lambda: label in evidence.get_attribute("aria-label"), what=name)  # noqa: B023
    wide.locator(EVIDENCE).select_option(index=0)
    wait_for(lambda: wide.locator(".facts").nth(2).inner_text(), what="the hottest tenth")
    wide.get_by_role("button", name="Random weights").click()
    wait_for(lambda: "rank correlation" in text_of(wide, ".bench .said"), what="the check")
    before = pixels(wide, "evidence")
    wide.locator(".strength").focus()
    wide.keyboard.press("Home")
    wait_for(lambda: pixels(wide, "evidence") != before, what="no overlay")


def test_an_upload_is_tested_and_a_bad_one_refused(wide):
    wide.locator("input[type=file]").set_input_files(picture())
    wait_for(lambda: "upload" in text_of(wide, ".focus-label"), what="the upload")
    settle(wide)
    assert "<b>noise" in text_of(wide, ".focus-label"), "its name is text"
    assert "not part of the link" in text_of(wide, ".truth")
    wait_for(lambda: "image=" not in address(wide), what="an address without the image")
    wide.get_by_text("path of your upload").first.wait_for()
    bad = {"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"}
    wide.locator("input[type=file]").set_input_files(bad)
    wide.wait_for_selector(".pop:popover-open")
    assert "cannot be read" in text_of(wide, ".pop:popover-open")
    assert "upload" in text_of(wide, ".focus-label"), "what was under test stays"
    wide.keyboard.press("Escape")
    wide.keyboard.press("z")
    wait_for(lambda: f"image {IMAGE:,}" in text_of(wide, ".focus-label"), what="undo")


def test_a_link_reproduces_the_case(wide, digits_server, open_page):
    press(wide, "rotation", "ArrowRight", 35)
    press(wide, "hue", "ArrowRight", 20)
    wide.get_by_label("Class of the evidence").select_option(label="four")
    wait_for(lambda: "hue:0.2" in address(wide) and "class=4" in address(wide), what="the address")
    again = open_page(digits_server.url, size=WIDE, query=address(wide))
    again.wait_for_selector(".bench[data-stage=ready]")
    settle(again)
    assert text_of(again, ".focus-label") == text_of(wide, ".focus-label")
    assert (value(again, "rotation"), value(again, "hue")) == ("+35°", "+0.20")
    bars = ".scores .bars"
    wait_for(lambda: text_of(again, bars) == text_of(wide, bars), what="the same scores")
    wait_for(lambda: pixels(again, "evidence") == pixels(wide, "evidence"), what="the same map")
    bad = open_page(digits_server.url, query="?image=0123456789abcdef&change=rotation:nan")
    wait_for(lambda: "not in this store" in text_of(bad, ".banner"), what="what is wrong")
    assert "cannot be used" in text_of(bad, ".banner")


def test_back_returns_to_the_image_before(wide):
    wide.locator(".film .th:not(.focus)").nth(2).click()
    wait_for(lambda: f"image {IMAGE:,}" not in text_of(wide, ".focus-label"), what="the other")
    wide.wait_for_timeout(600)
    there = address(wide)
    wide.go_back()
    wait_for(lambda: f"image {IMAGE:,}" in text_of(wide, ".focus-label"), what="the image before")
    wide.wait_for_timeout(600)
    wide.go_forward()
    wait_for(lambda: address(wide) == there, what="Forward")
    wait_for(lambda: f"image {IMAGE:,}" not in text_of(wide, ".focus-label"), what="the other")


def test_the_finder_ranks_the_fragile(wide):
    wide.get_by_label("Find images").click()
    dialog = wide.get_by_role("dialog")
    dialog.get_by_label("True class", exact=True).select_option(label="nine")
    dialog.get_by_role("radio", name="Wrong").click()
    dialog.get_by_role("button", name="Select these").click()
    wait_for(lambda: selected_count(wide) < 60, what="the wrong nines")
    assert selected_count(wide) > 5
