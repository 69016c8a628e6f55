"""Beside the maximised map in real Chromium: confusion matrix, gallery, and the export."""

from __future__ import annotations

import csv
import io
import zipfile

import pyarrow.parquet as pq
import pytest

from feature_store import queries
from tests.app.conftest import PHONE, WIDE, focused_image, selected_count, text_of, wait_for

pytestmark = pytest.mark.browser

CELL = ".beside-m td[data-at]"


def maximise(page):
    page.get_by_label("Maximise Map").click()
    page.wait_for_selector(f"{CELL} >> nth=0")
    page.wait_for_selector(".beside-g .tile img >> nth=0")
    return page


@pytest.fixture
def page(digits_server, open_page):
    return maximise(open_page(digits_server.url))


@pytest.fixture(scope="module")
def cells(digits_store):
    """Return the sorted ids of each (true, predicted) cell of the test images."""
    found = {}
    for image_id, true, predicted in digits_store.sql(
        "SELECT image_id, true_class, predicted_class FROM images JOIN predictions "
        "USING (image_id) WHERE split = 'test' ORDER BY image_id"
    ).fetchall():
        found.setdefault((true, predicted), []).append(image_id)
    return found


def cell(page, true, predicted):
    return page.locator(f'.beside-m [data-at="{true + 1},{predicted + 1}"]')


def commonest_errors(cells):
    return sorted((c for c in cells if c[0] != c[1]), key=lambda c: (-len(cells[c]), c))


def gallery_ids(page):
    tiles = page.locator(".beside-g .tile")
    return tiles.evaluate_all("all => all.map(tile => Number(tile.dataset.image))")


def is_selected(page, ids):
    return wait_for(
        lambda: selected_count(page) == len(ids) and sorted(gallery_ids(page)) == sorted(ids),
        what="the selection",
    )


def test_a_cell_selects_its_images_and_modifiers_combine(page, cells):
    first, second = commonest_errors(cells)[:2]
    cell(page, *first).click()
    is_selected(page, cells[first])
    names = page.locator(f'.beside-m th[data-at="{first[0] + 1},0"]').inner_text()
    assert text_of(page, ".selbar .n small").startswith(f"{names} taken for ")
    assert cell(page, *first).get_attribute("aria-selected") == "true"
    cell(page, *second).click(modifiers=["Shift"])
    is_selected(page, cells[first] + cells[second])
    cell(page, *first).click(modifiers=["Alt"])
    is_selected(page, cells[second])
    assert cell(page, *first).get_attribute("aria-selected") == "false"
    page.get_by_role("radio", name="Selected").click()
    assert cell(page, *second).inner_text() == str(len(cells[second]))
    page.locator("[data-act=undo]").click()
    is_selected(page, cells[first] + cells[second])


def test_the_matrix_is_walked_by_keys(page, cells):
    focus = focused_image(page)
    cell(page, 2, 2).focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    at = page.locator(".beside-m [data-at][tabindex='0']")
    assert at.count() == 1
    assert at.get_attribute("data-at") == "4,2"
    page.keyboard.press("Home")
    assert at.get_attribute("role") == "rowheader"
    page.keyboard.press("Enter")
    expected = sorted(i for (true, _), ids in cells.items() if true == 3 for i in ids)
    is_selected(page, expected)
    assert at.get_attribute("data-at") == "4,0", "the focus outlives the redrawing"
    assert page.locator(".beside-m").evaluate("e => e.matches(':focus-within')")
    assert focused_image(page) in expected or focused_image(page) == focus


def test_what_stands_behind_an_error_is_one_press_away(page, cells):
    first = commonest_errors(cells)[0]
    cell(page, *first).click()
    page.locator("[data-action=explain]").click()
    page.get_by_label("Which errors, true → predicted").wait_for()
    wait_for(
        lambda: (
            page.get_by_label("Which errors, true → predicted").input_value()
            == f"{first[0]}-{first[1]}"
        ),
        what="the kind of errors",
    )
    assert not page.locator(".beside-m").is_visible()


def test_the_gallery_is_sorted_paged_and_leads_to_the_test(page):
    first = gallery_ids(page)
    page.get_by_label("Order of the gallery and the film strip").select_option("id")
    wait_for(lambda: gallery_ids(page) != first, what="the order")
    assert gallery_ids(page) == sorted(gallery_ids(page))
    page.locator(".beside-g").get_by_label("Next page").click()
    wait_for(lambda: text_of(page, ".beside-g .pager span") == "121–240 of 500", what="the page")
    assert page.locator(".beside-g .tile").count() == 120
    tile = page.locator(".beside-g .tile").nth(3)
    tile.focus()
    page.keyboard.press("ArrowRight")
    target = page.locator(".beside-g .tile:focus").get_attribute("data-image")
    assert target == page.locator(".beside-g .tile").nth(4).get_attribute("data-image")
    page.get_by_role("radio", name="Large").click()
    assert page.locator(".beside-g .cap").nth(4).is_visible()
    page.locator(f".beside-g .tile[data-image='{target}']").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".bench[data-stage=ready]")
    wait_for(lambda: focused_image(page) == int(target), what="the image under test")
    assert page.locator(".view-b").is_visible()
    assert not page.locator(".beside-g").is_visible()


def download(page, kind):
    if not page.locator(f".menu [data-kind={kind}]").is_visible():
        page.get_by_label("Export the selected images").click()
    with page.expect_download() as waiting:
        page.locator(f".menu [data-kind={kind}]").click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_downloads_hold_exactly_the_selection(page, cells, digits_store):
    first = commonest_errors(cells)[0]
    cell(page, *first).click()
    is_selected(page, cells[first])
    name, content = download(page, "csv")
    assert name == f"vatun-digits-{len(cells[first])}-images.csv"
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [int(row["image_id"]) for row in rows] == cells[first]
    _, content = download(page, "parquet")
    assert pq.read_table(io.BytesIO(content))["image_id"].to_pylist() == cells[first]
    _, content = download(page, "zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = sorted(n for n in archive.namelist() if n.startswith("images/"))
        assert [int(n[7:15]) for n in files] == cells[first]
        assert archive.read(files[0]) == queries.image_bytes(digits_store, cells[first][0])
    page.locator("[data-act=clear]").click()
    wait_for(lambda: selected_count(page) == 500, what="all images")
    name, _ = download(page, "csv")
    assert name == "vatun-digits-500-images.csv"


def test_the_menu_is_worked_by_keys(page):
    opener = page.get_by_label("Export the selected images")
    opener.focus()
    page.keyboard.press("Enter")
    page.locator(".menu [data-kind=csv]:focus").wait_for()
    page.keyboard.press("ArrowUp")
    page.locator(".menu [data-kind=zip]:focus").wait_for()
    page.keyboard.press("Escape")
    page.locator(".menu").wait_for(state="hidden")
    assert page.locator("button.export:focus").count() == 1
    assert page.locator(".beside-m").is_visible(), "Esc closed the menu alone"


@pytest.mark.parametrize("size", [(1366, 768), WIDE, PHONE, (1024, 768)])
def test_nothing_is_cut_and_nothing_overlaps(digits_server, open_page, size):
    page = maximise(open_page(digits_server.url, size=size, query="?theme=dark"))
    boxes = {name: page.locator(f".{name}").bounding_box() for name in ("view-a", "beside-m")}
    boxes["beside-g"] = page.locator(".beside-g").bounding_box()
    for name, box in boxes.items():
        assert box["x"] >= -1, name
        assert box["x"] + box["width"] <= size[0] + 1, name
        assert box["height"] > 250, name
    grid = page.locator(".beside-m table").bounding_box()
    assert grid["x"] + grid["width"] <= boxes["beside-m"]["x"] + boxes["beside-m"]["width"]
    names = sorted(boxes)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            a, b = boxes[one], boxes[other]
            apart = (
                a["x"] + a["width"] <= b["x"] + 1
                or b["x"] + b["width"] <= a["x"] + 1
                or a["y"] + a["height"] <= b["y"] + 1
                or b["y"] + b["height"] <= a["y"] + 1
            )
            assert apart, (one, other)
    page.get_by_label("Maximise Map").click()
    page.locator(".beside-m").wait_for(state="hidden")
