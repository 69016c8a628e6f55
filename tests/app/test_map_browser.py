"""The map in real Chromium, with WebGL and without: what is pressed is drawn, said and linked."""

from __future__ import annotations

import pytest

from tests.app.conftest import (
    PHONE,
    WIDE,
    drag,
    focused_image,
    map_box,
    selected_count,
    text_of,
    wait_for,
)

pytestmark = pytest.mark.browser

DRAWN = ".map-n .drawn"
HIDDEN = ".map-n .hidden"
COLOURS_ON_THE_MAP = """canvas => {
  const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  const seen = new Set()
  for (let k = 0; k < d.length; k += 4) {
    if (d[k + 3]) seen.add(d[k] << 16 | d[k + 1] << 8 | d[k + 2])
  }
  return seen.size
}"""


@pytest.fixture
def page(digits_server, open_page):
    page = open_page(digits_server.url)
    settle(page)
    return page


def settle(page):
    """Wait until the map has been drawn at its size."""
    page.wait_for_selector(".view-a canvas")
    wait_for(lambda: "drawn" in text_of(page, DRAWN), what="the map")
    page.wait_for_timeout(1_000)


def drawn(page):
    return int(text_of(page, DRAWN).split()[0].replace(",", ""))


def swatch(page, at):
    return page.locator(".view-a .legend .sw").nth(at)


def circle(page, share=0.8):
    box = map_box(page)
    left, top = (1 - share) / 2 * box["width"], (1 - share) / 2 * box["height"]
    corners = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0.02))
    return [
        (box["x"] + left + u * share * box["width"], box["y"] + top + v * share * box["height"])
        for u, v in corners
    ]


def test_the_legend_hides_says_so_and_a_lasso_takes_what_is_seen(page):
    total = drawn(page)
    swatch(page, 3).click()
    wait_for(lambda: page.locator(HIDDEN).is_visible(), what="what is hidden")
    words = text_of(page, HIDDEN)
    assert words.startswith("1 of 10 classes hidden, ")
    assert words.endswith(" images")
    shown = wait_for(lambda: (n := drawn(page)) < total and n, what="fewer points")
    assert total - shown == int(words.split(", ")[1].split()[0].replace(",", ""))
    assert selected_count(page) == total, "hiding selects nothing"
    # The tools stand in the corner: a drag that begins on them is none.
    drag(page, circle(page, 0.72))
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="the lasso")
    assert chosen <= shown
    page.locator(".view-a .all").first.click()
    wait_for(lambda: drawn(page) == total, what="all points")
    assert selected_count(page) == chosen
    page.locator(".view-a .legend button").nth(5).click(modifiers=["Alt"])
    wait_for(lambda: page.locator(HIDDEN).is_visible(), what="Alt hides too")
    assert selected_count(page) == chosen


def test_hiding_all_says_how_to_come_back(page):
    total = drawn(page)
    for at in range(10):
        swatch(page, at).click()
        # The answer draws the legend anew: a click in the middle of that would be lost.
        said = f"{at + 1} of 10 classes hidden"
        wait_for(lambda said=said: text_of(page, HIDDEN).startswith(said), what=said)
    page.locator(".map-n .empty", has_text="Everything is hidden").wait_for()
    page.locator(".map-n .empty .btn").click()
    wait_for(lambda: drawn(page) == total, what="all points")
    assert not page.locator(".map-n .empty").is_visible()


def test_every_kind_of_colour_is_drawn_with_its_legend(page):
    more = page.get_by_label("Colour by, more")
    said = {
        "flip:rotation": "Smallest flip, Rotation",
        "predictions.loss": "Loss",
        "margin": "Margin",
    }
    for value, title in said.items():
        more.select_option(value)
        wait_for(lambda title=title: title in text_of(page, ".view-a .legend"), what=title)
        assert "a pixel shows its" in text_of(page, ".view-a .legend")
    assert more.locator("option[value='images.width']").is_disabled()
    page.get_by_role("radio", name="Correct", exact=True).click()
    wait_for(lambda: "wrong" in text_of(page, ".view-a .legend"), what="the other legend")
    assert more.input_value() == ""


def test_the_keyboard_zooms_pans_and_reaches_every_control(page):
    total, first = drawn(page), focused_image(page)
    keys = page.locator(".map-n .keys")
    keys.focus()
    label = keys.get_attribute("aria-label")
    assert f"{total:,} of {total:,} drawn" in label
    assert "coloured by true class" in label
    for _ in range(3):
        page.keyboard.press("+")
    closer = wait_for(lambda: (n := drawn(page)) < total and n, what="a closer look")
    page.wait_for_timeout(800)
    closer = drawn(page)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wait_for(lambda: drawn(page) != closer, what="another place")
    page.keyboard.press("0")
    wait_for(lambda: drawn(page) == total, what="all points")
    assert focused_image(page) == first, "arrows on the map leave the focus"
    stops = []
    page.get_by_role("radio", name="True class", exact=True).focus()
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate(
                """() => { let e = document.activeElement
                       while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement
                       return e.getAttribute("aria-label") || e.title }"""
            )
        )
    assert stops[0] == "Colour by, more"
    assert stops[1] == "Projection"
    assert stops[2].startswith("Map, ")
    assert stops[3].startswith("Lasso")
    assert stops[4].startswith("Box")


UNITS = """() => {
  const map = [...Bokeh.documents[0]._all_models.values()].find((one) => one.type === "Figure")
  const unit = (range, pixels) => (range.end - range.start) / pixels
  return [unit(map.x_range, map.inner_width), unit(map.y_range, map.inner_height), map.lod_timeout]
}"""

PICTURES = """() => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const shown = models.find((m) => m.type === "ColumnDataSource" && m.data.url?.length)
  const plot = models.find((m) => m.type === "Figure")
  if (!shown) return null
  const place = (range, value) => (value - range.start) / (range.end - range.start)
  return [...shown.data.url].map((url, k) => [
    url, place(plot.x_range, shown.data.x[k]), 1 - place(plot.y_range, shown.data.y[k])])
}"""


def test_a_close_look_shows_the_pictures_and_a_tap_on_one_tests_it(digits_server, open_page):
    page = open_page(digits_server.url)
    asked = set()
    page.on("request", lambda request: asked.add(request.url))
    settle(page)
    page.locator(".map-n .keys").focus()
    for _ in range(14):
        if 0 < drawn(page) <= 30:
            break
        page.keyboard.press("+")
        page.wait_for_timeout(600)
    pictures = wait_for(lambda: page.evaluate(PICTURES), what="the pictures")
    assert len(pictures) <= drawn(page) <= 60
    # Requests are told of only while something is asked of the page.
    page.wait_for_load_state("networkidle")
    wait_for(
        lambda: page.title() and all(any(url in one for one in asked) for url, _, _ in pictures),
        what="the requests for them",
    )
    box = map_box(page)
    first = focused_image(page)
    url, x, y = next(one for one in pictures if f"/{first}." not in one[0])
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    wait_for(lambda: f"/{focused_image(page)}." in url, what="the tapped picture")


def test_projections_keep_the_selection(page):
    drag(page, circle(page, 0.5))
    total = drawn(page)
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="the lasso")
    first = focused_image(page)
    page.get_by_label("Projection").select_option("pca")
    wait_for(lambda: "PCA" in page.locator(".map-n .keys").get_attribute("aria-label"), what="PCA")
    assert (selected_count(page), focused_image(page)) == (chosen, first)
    page.keyboard.press("i")
    wait_for(lambda: selected_count(page) == total - chosen, what="the others")


def test_a_search_colours_the_map_and_its_legend(page):
    page.set_viewport_size({"width": 1920, "height": 1080})
    total = drawn(page)
    page.keyboard.press("/")
    page.locator(".search input").first.fill("three")
    page.locator(".search input").first.press("Enter")
    chosen = wait_for(lambda: (n := selected_count(page)) < total and n, what="the search")
    counts = page.locator(".view-a .legend .ct")
    wait_for(
        lambda: sum(int(text.replace(",", "")) for text in counts.all_inner_texts()) == chosen,
        what="the counts of the selection",
    )


def test_density_and_equal_shading_differ(page):
    button = page.locator(".view-a [data-id=density]")
    assert button.get_attribute("aria-pressed") == "false"
    canvas = page.locator(".view-a canvas").first
    before = canvas.evaluate("c => c.toDataURL()")
    button.click()
    wait_for(lambda: button.get_attribute("aria-pressed") == "true", what="the button")
    wait_for(lambda: canvas.evaluate("c => c.toDataURL()") != before, what="the shading")


def test_the_legend_fits_a_phone(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE)
    settle(page)
    for part in page.locator(".view-a .legend .it").all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE[0]
        assert box["height"] >= 32
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    swatch(page, 0).click()
    wait_for(lambda: page.locator(HIDDEN).is_visible(), what="what is hidden")


def test_the_page_needs_no_webgl(digits_server, chromium):
    from tests.app.conftest import ARGUMENTS

    off = ["--disable-gpu", "--disable-3d-apis", "--disable-webgl", "--disable-webgl2"]
    browser = chromium.browser_type.launch(
        executable_path=chromium_path(), args=[*ARGUMENTS, *off]
    )
    try:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(60_000)
        errors = []
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(digits_server.url)
        page.wait_for_selector(".selbar .big")
        settle(page)
        for kind in ("webgl", "webgl2"):
            without = f"!document.createElement('canvas').getContext('{kind}')"
            assert page.evaluate(without), "otherwise the test says nothing"
        total = drawn(page)
        canvas = page.locator(".view-a canvas").first
        assert canvas.evaluate(COLOURS_ON_THE_MAP) > 10
        before = canvas.evaluate("c => c.toDataURL()")
        page.get_by_role("radio", name="Confidence", exact=True).click()
        wait_for(lambda: canvas.evaluate("c => c.toDataURL()") != before, what="other colours")
        page.locator(".map-n .keys").focus()
        page.keyboard.press("+")
        wait_for(lambda: drawn(page) < total, what="a closer look")
        page.keyboard.press("0")
        wait_for(lambda: drawn(page) == total, what="all points")
        drag(page, circle(page, 0.5))
        wait_for(lambda: selected_count(page) < total, what="the lasso")
        assert page.locator(".view-c canvas").first.evaluate(COLOURS_ON_THE_MAP) > 10
        assert page.locator(".view-d .smc path").count() >= 10
        page.locator(".view-d [data-id=maximise]").click()
        page.locator(".card.calibration circle").first.wait_for()
        assert errors == []
    finally:
        browser.close()


def test_the_map_is_a_table_for_the_keyboard(page):
    total = drawn(page)
    page.locator(".map-tools [data-id=table]").focus()
    page.keyboard.press("Enter")
    rows = page.locator(".map-table tbody tr")
    rows.first.wait_for()
    wait_for(lambda: focused(page) == "Show as map", what="the way back")
    assert text_of(page, ".map-table .count") == f"{total:,} of {total:,} drawn"
    page.keyboard.press("Tab")
    assert focused(page) == "Image", "what the table covers is no stop"
    page.keyboard.press("Enter")
    page.locator(".map-table th[aria-sort=ascending]", has_text="Image").wait_for()
    wait_for(lambda: focused(page).startswith("Image"), what="the heading")
    wait_for(lambda: numbers(rows) == sorted(numbers(rows)), what="the order by id")
    rows.first.locator(".go").focus()
    first = numbers(rows)
    page.keyboard.press("PageDown")
    later = wait_for(lambda: (n := numbers(rows))[0] > first[-1] and n, what="the second page")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for(lambda: focused_image(page) == later[1], what="the second row")
    page.locator(".map-table tr.on").wait_for()
    page.locator(".map-table .btn", has_text="Show as map").click()
    wait_for(lambda: page.locator(".map-tools [data-id=lasso]").is_visible(), what="the map")
    assert not rows.first.is_visible()
    wait_for(lambda: focused(page) == "Show as table", what="the focus where it came from")


def test_a_large_map_is_not_stretched_before_its_first_zoom(digits_server, open_page):
    page = open_page(digits_server.url, size=WIDE)
    settle(page)
    width, height, timeout = page.evaluate(UNITS)
    assert width == pytest.approx(height, rel=0.01)
    assert timeout == 30, "milliseconds that a turn of the wheel waits"


def test_who_thinks_before_drawing_draws(page):
    """Bokeh gives up a drag whose press lasts 300 ms before the first move."""
    total = drawn(page)
    first, *others = circle(page, 0.6)
    page.mouse.move(*first)
    page.mouse.down()
    page.wait_for_timeout(900)
    for point in others:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
    wait_for(lambda: selected_count(page) < total, what="the selection")


def numbers(rows):
    return [int(row) for row in rows.evaluate_all("each => each.map((row) => row.dataset.image)")]


def focused(page):
    """Return what the element says that has the keyboard, through all shadow roots."""
    return page.evaluate(
        """() => { let e = document.activeElement
               while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement
               return e.textContent.trim() || e.getAttribute("aria-label") }"""
    )


def test_a_link_opens_the_same_map(digits_server, open_page):
    page = open_page(digits_server.url, query="?colour=nope&hidden=4")
    settle(page)
    page.get_by_text("The map cannot be coloured by nope.").wait_for()
    assert text_of(page, HIDDEN).startswith("1 of 10 classes hidden")
    swatch(page, 2).click()
    page.locator(".view-a [data-id=density]").click()
    page.get_by_role("radio", name="Predicted", exact=True).click()
    page.get_by_label("Projection").select_option("pca")
    asked = "colour=predicted&projection=pca&shading=density&hidden=true:2,4"
    page.wait_for_function("(asked) => location.search.includes(asked)", arg=asked)
    shown = drawn(page)
    other = open_page(digits_server.url, query=page.evaluate("location.search"))
    settle(other)
    wait_for(lambda: drawn(other) == shown, what="the same points")
    assert other.get_by_label("Projection").input_value() == "pca"
    predicted = other.get_by_role("radio", name="Predicted", exact=True)
    assert predicted.get_attribute("aria-checked") == "true"
    assert other.locator(".view-a [data-id=density]").get_attribute("aria-pressed") == "true"


def chromium_path():
    import shutil

    from tests.app.conftest import BROWSERS

    return next(path for name in BROWSERS if (path := shutil.which(name)))
