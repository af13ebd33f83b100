"""An exported page: one file, no server, no network, and the hover still works."""

import ipywidgets
import numpy as np
import pytest

from dlwidgets.export import export_page
from dlwidgets.marks import FieldMap, Raster, Readout, raster_figure
from dlwidgets.widgets.base import Exhibit


def conv_matrix(num_units: int, size: int, kernel: int, stride: int) -> np.ndarray:
    """Which positions each unit of a 1-D convolution without padding sees."""
    starts = np.arange(num_units)[:, None] * stride
    return (np.arange(size) >= starts) & (np.arange(size) < starts + kernel)


def exhibit_of(link: FieldMap, num_units: int, size: int) -> Exhibit:
    units = Raster(np.zeros((num_units, num_units), np.float32), linked=link, role="unit", alt="Units")
    image = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    figures = ipywidgets.HBox(
        [raster_figure(units, title="Units"), raster_figure(Raster(image, linked=link, role="input"), title="Input")]
    )
    figures.add_class("dlw-row")
    exhibit = Exhibit()
    slider = ipywidgets.FloatSlider(description="from")
    target = ipywidgets.FloatText()
    links = ipywidgets.jslink((slider, "value"), (target, "value"))
    exhibit._own(links)
    exhibit.children = [figures, Readout(link, text="Hover a unit."), slider, target]
    return exhibit


@pytest.fixture
def open_page(chromium, tmp_path):
    contexts = []

    def open_page(exhibit, **options):
        path = export_page(exhibit, tmp_path / "page.html")
        context = chromium.new_context(offline=True, viewport={"width": 1000, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.dlw-raster-hover')].filter(canvas => canvas.width > 300).length === 2"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()


def hover(page, which: int, across: float, down: float) -> None:
    """Move over a picture, in shares of its square."""
    box = page.locator(".dlw-raster-hover").nth(which).bounding_box()
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    page.mouse.move(left + across * side, top + down * side)


def readout(page) -> str:
    return page.locator(".dlw-readout > span").first.inner_text()


def test_hovering_works_from_a_file_with_the_network_off(open_page):
    taps = conv_matrix(8, 16, 2, 2)
    link = FieldMap.pack([[(0, taps), (1, taps)]], (8, 8), (16, 16), label="pool")
    page = open_page(exhibit_of(link, 8, 16))
    assert readout(page) == "Hover a unit."
    hover(page, 0, 3.5 / 8, 4.5 / 8)
    assert readout(page) == "Unit (4, 3) of pool sees 4 of 256 pixels: rows 8–9, columns 6–7, 2 × 2."
    hover(page, 1, 6.5 / 16, 9.5 / 16)
    assert readout(page) == "Pixel (9, 6) is seen by 1 of 64 units of pool: row 4, column 3, 1 × 1."
    page.locator(".noUi-handle").press("ArrowRight")
    page.wait_for_function("document.querySelector('.widget-text input, .widget-number input')?.value === '0.1'")
    assert page.locator(".dlw-alert:visible").count() == 0
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.errors == []


def test_a_field_without_product_form_shows_its_box_labelled_bound(open_page):
    link = FieldMap()
    boxes = np.zeros((8, 8, 2, 2), np.int32)
    boxes[..., 0], boxes[..., 1] = 4, 9
    link.show_boxes(boxes, (8, 8), (16, 16), label="sorted", because="aten.sort")
    page = open_page(exhibit_of(link, 8, 16))
    hover(page, 0, 0.5, 0.5)
    assert "at most 25 of 256 pixels" in readout(page)
    assert "bound, because of aten.sort" in readout(page)
    inside = page.evaluate(
        "() => { const canvas = document.querySelectorAll('.dlw-raster-hover')[1];"
        "return [...canvas.getContext('2d').getImageData(canvas.width / 2 - 10, canvas.height / 2 - 10, 1, 1).data] }"
    )
    assert inside == [0, 0, 0, 0]


def test_single_holes_and_taps_survive_on_a_megapixel(open_page):
    num_units, size = 122, 1024
    taps = np.zeros((num_units, size), bool)
    for unit in range(num_units):
        taps[unit, unit * 8 : unit * 8 + 56 : 14] = True
    full = conv_matrix(num_units, size, 56, 8)
    link = FieldMap.pack([[(0, taps), (1, taps)], [(0, full ^ taps), (1, full ^ taps)]], (122, 122), (1024, 1024))
    page = open_page(exhibit_of(link, num_units, size))
    hover(page, 0, 60.5 / 122, 60.5 / 122)
    assert "sees 2,720 of 1,048,576 pixels" in readout(page)  # 4 * 4 taps and 52 * 52 between them
    shades = page.evaluate(
        """() => {
            const canvas = document.querySelectorAll('.dlw-raster-hover')[1];
            const side = Math.min(canvas.width, canvas.height), cell = side / 1024;
            const left = (canvas.width - side) / 2, top = (canvas.height - side) / 2;
            const at = (row, column) => {
                const [x, y] = [left + column * cell, top + row * cell].map(Math.floor);
                return canvas.getContext('2d').getImageData(x, y, 1, 1).data.join();
            };
            const corner = 60 * 8;
            return {tap: at(corner + 14, corner + 14), hole: at(corner + 14, corner + 21),
                    lit: at(corner + 21, corner + 21), outside: at(10, 10)};
        }"""
    )
    assert shades["outside"] == "0,0,0,150"
    assert shades["hole"] not in (shades["outside"], shades["lit"])
    assert shades["tap"] != shades["hole"]


def test_a_handler_on_a_megapixel_is_measured(open_page):
    taps = conv_matrix(122, 1024, 112, 7)
    link = FieldMap.pack([[(0, taps), (1, taps)]], (122, 122), (1024, 1024))
    page = open_page(exhibit_of(link, 122, 1024))
    for step in range(50):
        hover(page, 0, 0.1 + step * 0.016, 0.1 + step * 0.016)
    entries = page.evaluate("performance.getEntriesByName('dlwidgets:hover').map(entry => entry.duration)")
    assert len(entries) >= 45
    assert all(duration >= 0 for duration in entries)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_follows_the_systems_theme_and_fits_a_phone(open_page, scheme):
    taps = conv_matrix(8, 16, 2, 2)
    link = FieldMap.pack([[(0, taps), (1, taps)]], (8, 8), (16, 16))
    page = open_page(exhibit_of(link, 8, 16), color_scheme=scheme)
    brightness = (
        """(element) => getComputedStyle(element).color.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"""
    )
    text = page.locator(".dlw-readout").evaluate(brightness)
    title = page.locator(".mainheading").first.evaluate(brightness.replace(".color", ".fill"))
    assert (text > 384, title > 384) == (scheme == "dark", scheme == "dark")
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 360")
    tops = [page.locator(".dlw-raster").nth(i).bounding_box()["y"] for i in range(2)]
    assert tops[1] - tops[0] > 200
