"""View D in real Chromium: points, tables, and every measure of the maximised view."""

from __future__ import annotations

import itertools

import pytest
from scipy.stats import binomtest

from tests.app.conftest import PHONE, selected_count, text_of, wait_for

pytestmark = pytest.mark.browser

FIRST_ROW = ".rank tbody tr"


@pytest.fixture
def page(digits_server, open_page):
    page = open_page(digits_server.url)
    page.wait_for_selector(".over svg")
    page.wait_for_selector(".smc svg")
    return page


def maximise(page):
    page.locator(".view-d").get_by_label("Maximise Simulation").click()
    page.wait_for_selector(FIRST_ROW)


def place(page, selector, k):
    """Return where the ``k``-th point of a chart's thickest line lies on the screen."""
    return page.locator(selector).evaluate(
        """(box, k) => {
            const lines = [...box.querySelectorAll("svg path[fill=none]")]
            const points = lines.at(-1).getAttribute("d").slice(1).split("L")
            const [x, y] = points[k].split(" ").map(Number)
            const at = box.getBoundingClientRect()
            return [at.left + x, at.top + y]
        }""",
        k,
    )


def wrong_at(store, magnitude, name):
    rows = store.arrow(
        "select count(*) as n from sweeps s join images using (image_id) "
        "join classes on class_index = true_class where perturbation = 'rotation' "
        "and magnitude = ? and class_name = ? and s.predicted_class != true_class",
        magnitude,
        name,
    )
    return rows["n"][0].as_py()


def test_a_point_of_a_panel_selects_its_images(page, digits_store):
    maximise(page)
    name = text_of(page, ".smc b")
    x, y = place(page, ".smc:first-child .pl", 15)
    page.mouse.move(x, y)
    wait_for(lambda: page.locator(".read:popover-open").count(), what="what the point says")
    said = text_of(page, ".read:popover-open")
    assert said.startswith("Rotation 45°")
    assert f"selects the {name} images that are wrong" in said
    page.mouse.click(x, y)
    expected = wrong_at(digits_store, 45.0, name)
    wait_for(lambda: selected_count(page) == expected, what="the images of the point")
    assert f"{name} wrong at Rotation 45°, {expected} of 10 swept" in text_of(
        page, "section.selbar"
    )


LEADERS = """box => {
  const plot = box.getBoundingClientRect()
  return [...box.querySelectorAll("polyline")].map((leader) => {
    const at = leader.nextElementSibling.getBoundingClientRect()
    return { name: leader.nextElementSibling.textContent, colour: leader.getAttribute("stroke"),
             points: [...leader.points].map((p) => p.y), top: at.top - plot.top,
             bottom: at.bottom - plot.top, right: plot.right - at.right }
  })
}"""


@pytest.mark.parametrize("measure", ["mean_score", "accuracy"])
def test_every_line_is_named_at_its_end_and_no_name_lies_on_another(page, measure):
    page.get_by_label("Measure").select_option(measure)
    said = "share predicted right" if measure == "accuracy" else "score of the true class"
    page.locator(".over .title span", has_text=said).wait_for()
    leaders = page.locator(".over .pl").evaluate(LEADERS)
    lines = page.locator(".over svg path[fill=none]:not(.halo)").evaluate_all(
        "all => all.map((line) => [line.getAttribute('stroke'), "
        "Number(line.getAttribute('d').trim().split(/[ L]/).at(-1))])"
    )
    assert len(leaders) == len(lines) == 11
    ends = dict(lines)
    for one in leaders:
        assert one["points"][0] == pytest.approx(ends[one["colour"]], abs=0.06), "from its line"
        assert one["top"] <= one["points"][-1] <= one["bottom"], "to its name"
        assert one["right"] >= 0, "within the chart"
    ordered = sorted(leaders, key=lambda one: one["points"][-1])
    for above, below in itertools.pairwise(ordered):
        # A box of text is higher than its letters.
        assert below["points"][-1] - above["points"][-1] >= 10.5, (above["name"], below["name"])
        assert above["points"][0] <= below["points"][0] + 0.06, "no leader crosses another"


@pytest.mark.parametrize("is_maximised", [False, True])
def test_the_bold_curve_says_the_accuracy_of_all_images(page, digits_store, is_maximised):
    if is_maximised:
        maximise(page)
    page.get_by_label("Measure").select_option("accuracy")
    page.locator(".over .title span", has_text="share predicted right").wait_for()
    x, y = place(page, ".over .pl", 15)
    page.mouse.move(x, y)
    wait_for(lambda: page.locator(".read:popover-open").count(), what="the readings")
    rows = digits_store.arrow(
        "select count(*) as n, sum((s.predicted_class = true_class)::INT)::INT as k from sweeps s "
        "join images using (image_id) where perturbation = 'rotation' and magnitude = 45"
    )
    k, n = rows["k"][0].as_py(), rows["n"][0].as_py()
    wilson = binomtest(k, n).proportion_ci(method="wilson")
    said = f"all images: accuracy {k / n:.2f} ({wilson.low:.2f} to {wilson.high:.2f}), n {n}"
    assert said in text_of(page, ".read:popover-open")
    page.mouse.click(x, y)
    wait_for(
        lambda: page.locator(".sl[data-name=rotation] .v").text_content() == "+45°",
        what="the change of view B",
    )
    assert selected_count(page) == 500, "no images are chosen by it"


def test_what_hovering_says_never_covers_its_chart(page):
    x, y = place(page, ".over .pl", 15)
    page.mouse.move(x, y)
    wait_for(lambda: page.locator(".read:popover-open").count(), what="the readings")
    chart = page.locator(".over .pl").bounding_box()
    told = page.locator(".read:popover-open").bounding_box()
    assert told["x"] >= chart["x"] + chart["width"] or told["y"] + told["height"] <= chart["y"]


def test_dragging_the_blue_line_hides_the_readings_and_selects_nothing(page):
    knob, y = page.locator(".over .knob").bounding_box(), place(page, ".over .pl", 12)[1] + 30
    start = knob["x"] + knob["width"] / 2
    page.mouse.move(start, y)
    readings = page.locator(".vt-curves .read:popover-open")
    wait_for(readings.count, what="the readings")
    # To a point of a class's own line, where a click would select.
    point = page.locator(".over .pl").evaluate(
        "(box) => box.querySelectorAll('svg path[fill=none]')[3].getAttribute('d')"
        ".slice(1).split('L')[18].split(' ').map(Number)"
    )
    chart = page.locator(".over .pl").bounding_box()
    end = (chart["x"] + point[0], chart["y"] + point[1])
    page.mouse.down()
    page.mouse.move(*end)
    assert not readings.count()
    page.mouse.up()
    said = page.locator(".sl[data-name=rotation] .v")
    wait_for(lambda: said.text_content() not in {"0°", ""}, what="the change of view B")
    assert not readings.count(), "not before the pointer moves again"
    assert page.evaluate("String(getSelection())") == "", "no text is marked by it"
    page.mouse.move(end[0] - 2, end[1])
    wait_for(readings.count, what="the readings of the new place")
    assert text_of(page, ".vt-curves .read").startswith("Rotation 90°")
    assert selected_count(page) == 500


def test_the_order_of_the_panels_is_said(page):
    shown = page.locator(".smc .note")
    assert all("first to fall first" in note.get_attribute("title") for note in shown.all())
    words = page.get_by_text("first to fall first", exact=False)
    assert not words.is_visible(), "there is no room beside view C"
    maximise(page)
    words.wait_for()


def test_the_curves_are_a_table_for_the_keyboard(page, digits_store):
    page.locator(".view-d").get_by_label("Show as table").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".tables table")
    assert page.locator(".tables tbody tr").count() == 25
    heads = page.locator(".tables thead th").all_inner_texts()
    assert len(heads) == 12
    assert heads[1] == "all images · n 100"
    assert all(head.endswith("n 10") for head in heads[2:])
    name = heads[2].split(" · ")[0]
    row = page.locator(".tables tbody tr", has_text="Rotation 45°").first
    row.locator("button").first.focus()
    page.keyboard.press("Enter")
    expected = wrong_at(digits_store, 45.0, name)
    wait_for(lambda: selected_count(page) == expected, what="the images of the figure")
    page.get_by_label("Which curves").select_option(index=1)
    wait_for(lambda: len(page.locator(".tables thead th").all()) == 11, what="all lines")
    assert "images of" in text_of(page, ".tables caption")
    page.get_by_text("Show as chart").click()
    page.wait_for_selector(".over svg")


def test_the_ranking_sorts_and_leads_to_its_class_by_keyboard(page):
    maximise(page)
    assert page.locator(FIRST_ROW).count() == 110
    head = page.locator("[data-sort=lost]")
    head.click()
    wait_for(lambda: page.locator("th[aria-sort=descending]").count() == 1, what="the other order")
    lost = [int(text.split()[0].replace("−", "-")) for text in column(page, 5)]
    assert lost == sorted(lost, reverse=True)
    page.locator("[data-sort=name]").click()
    wait_for(lambda: page.locator("th[aria-sort=ascending]").count() == 1, what="by name")
    names = page.locator(f"{FIRST_ROW} th").all_inner_texts()
    assert names == sorted(names)
    page.locator("[data-sort=reach]").click()
    page.locator(f"{FIRST_ROW} .go[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    row = page.locator(FIRST_ROW).nth(1)
    name, change = row.locator("th").inner_text(), row.locator("td").first.inner_text()
    page.keyboard.press("Enter")
    wait_for(lambda: text_of(page, ".smc.on b") == name, what="the frame of the class")
    change_list = page.get_by_label("Change", exact=True)
    wait_for(
        lambda: change_list.evaluate("e => e.selectedOptions[0].text") == change, what="the change"
    )
    wait_for(lambda: name in text_of(page, ".images .note"), what="images of the class")


def column(page, place):
    return page.locator(f"{FIRST_ROW} > :nth-child({place})").all_inner_texts()


def test_calibration_follows_the_magnitude_and_is_a_table_too(page):
    maximise(page)
    assert "Unchanged · n 100" in text_of(page, ".calibration figcaption")
    assert page.locator(".calibration circle").count() > 3
    box = page.locator(".calibration .pl:not(.sq)").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 60)
    wait_for(
        lambda: text_of(page, ".calibration figcaption").startswith("Rotation 1"),
        what="the calibration under a change",
    )
    page.locator(".calibration .sh button").click()
    page.wait_for_selector(".calibration table")
    assert page.locator(".calibration table").first.locator("tbody tr").count() == 25


def test_consistency_flips_and_images_are_there(page):
    maximise(page)
    before = text_of(page, ".consistency tbody tr td")
    assert before.endswith("%")
    picked = page.locator(".consistency select")
    picked.select_option(index=1)
    wait_for(
        lambda: "of 100" not in text_of(page, ".consistency tbody tr td:last-child"),
        what="the images of one predicted class",
    )
    assert page.locator(".flips tbody tr").count() == 10
    first = page.locator(".images .th").first
    image = int(first.get_attribute("data-image"))
    first.click()
    wait_for(
        lambda: (
            page.locator(".images .th.focus").count() >= 1
            and int(page.locator(".images .th.focus").first.get_attribute("data-image")) == image
        ),
        what="the focus on that image",
    )
    page.keyboard.press("Escape")
    page.locator(FIRST_ROW).first.wait_for(state="hidden")


def test_all_measures_fit_a_phone(digits_server, open_page):
    page = open_page(digits_server.url, size=PHONE, query="?theme=dark")
    page.locator(".tabs button").nth(3).click()
    page.wait_for_selector(".over svg")
    maximise(page)
    for part in (".ranking", ".images", ".flips", ".calibration", ".consistency"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= -1, part
        assert box["x"] + box["width"] <= PHONE[0] + 1, part
