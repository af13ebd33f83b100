"""Rasters, links, readouts and exhibits in a real JupyterLab."""

import base64

import pytest

SETUP = """
import numpy as np, ipywidgets, bqplot
from dlwidgets.marks import FieldMap, Raster, Readout, raster_figure
from dlwidgets.widgets.base import Exhibit

def matrix(units, size, kernel, stride, padding, dilation=1):
    found = np.zeros((units, size), bool)
    for unit in range(units):
        for tap in range(kernel):
            position = unit * stride - padding + tap * dilation
            if 0 <= position < size:
                found[unit, position] = True
    return found

taps = matrix(8, 16, 3, 2, 2, 2)
link = FieldMap.pack([[(0, taps), (1, taps)]], (8, 8), (16, 16), label="conv", windows=[[0, 2, 5, 2], [1, 2, 5, 2]])
units = Raster(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), linked=link, role="unit", alt="64 activations")
picture = np.full((16, 16, 3), 200, np.uint8)
pixels = Raster(picture, linked=link, role="input", outside=(2, 2, 2, 2), alt="A grey picture")
slider = ipywidgets.FloatSlider(description="depth")
figures = ipywidgets.HBox([raster_figure(units, title="Units"), raster_figure(pixels, title="Input")])
figures.add_class("dlw-row")
exhibit = Exhibit()
exhibit.children = [slider, figures, Readout(link, text="Hover a unit.")]
"""

CELL_CENTRE = """([nth, size, cell]) => {
    const box = document.querySelectorAll('.dlw-raster-hover')[nth].getBoundingClientRect();
    const side = Math.min(box.width, box.height) / size[0];
    const left = box.left + (box.width - side * size[0]) / 2, top = box.top + (box.height - side * size[0]) / 2;
    return [left + side * (cell[1] + size[1] + 0.5), top + side * (cell[0] + size[1] + 0.5)];
}"""

PIXEL = """([nth, layer, x, y]) => {
    const canvas = document.querySelectorAll('.dlw-raster-' + layer)[nth];
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    const data = canvas.getContext('2d').getImageData((x - box.left) * scale, (y - box.top) * scale, 1, 1).data;
    return [...data];
}"""

UNITS, INPUT = (0, 8, 0), (1, 20, 2)
"""Number of the picture, cells shown each way, of which padding at the start."""

VEIL = [0, 0, 0, 150]


class Pictures:
    """The pictures of the first exhibit on a page."""

    def __init__(self, page):
        self.page = page
        page.wait_for_function("document.querySelectorAll('.dlw-raster-hover').length >= 2")
        page.wait_for_function(
            "[...document.querySelectorAll('.dlw-raster-hover')].every(canvas => canvas.width > 100)"
        )
        page.locator(".dlw-exhibit").first.scroll_into_view_if_needed()

    def point(self, which, cell):
        number, cells, padding = which
        return self.page.evaluate(CELL_CENTRE, [number, [cells, padding], list(cell)])

    def hover(self, which, cell):
        self.page.mouse.move(*self.point(which, cell))

    def click(self, which, cell):
        self.page.mouse.click(*self.point(which, cell))

    def pixel(self, which, cell, layer="hover"):
        return self.page.evaluate(PIXEL, [which[0], layer, *self.point(which, cell)])

    def lit(self, which, size):
        return {(r, c) for r in range(size) for c in range(size) if self.pixel(which, (r, c)) != VEIL}

    def readout(self):
        return self.page.locator(".dlw-readout > span").first.inner_text()


@pytest.fixture
def shown(notebook):
    opened = notebook([SETUP, "exhibit"]).run_all()
    return opened, Pictures(opened.page)


def test_hovering_a_unit_lights_exactly_its_pixels_without_the_kernel(shown):
    notebook, pictures = shown
    notebook.execute("units.report_hover = pixels.report_hover = False")
    sent = []
    notebook.page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            window.sent = 0;
            kernel.anyMessage.connect((_, {direction}) => { window.sent += direction === 'send' ? 1 : 0; });
        }"""
    )
    for unit in ((3, 4), (0, 0), (7, 7)):
        pictures.hover(UNITS, unit)
        expected = {
            (r, c)
            for r in range(unit[0] * 2 - 2, unit[0] * 2 + 3, 2)
            for c in range(unit[1] * 2 - 2, unit[1] * 2 + 3, 2)
            if 0 <= r < 16 and 0 <= c < 16
        }
        assert pictures.lit(INPUT, 16) == expected
        assert f"Unit {unit} of conv sees {len(expected)} of 256 pixels" in pictures.readout()
        sent.append(notebook.page.evaluate("window.sent"))
    assert sent == [0, 0, 0]
    pictures.hover(INPUT, (6, 6))
    assert pictures.lit(UNITS, 8) == {(r, c) for r in (2, 3, 4) for c in (2, 3, 4)}
    assert "Pixel (6, 6) is seen by 9 of 64 units of conv" in pictures.readout()
    notebook.page.mouse.move(1, 1)
    assert pictures.readout() == "Hover a unit."
    assert notebook.errors == []


def test_a_click_pins_and_keys_move_it_but_not_jupyterlab(shown):
    notebook, pictures = shown
    notebook.page.keyboard.press("Escape")
    pictures.click(UNITS, (2, 3))
    notebook.wait_for_python("units.selected == [2, 3]")
    cell_before = notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        notebook.page.keyboard.press(key)
    notebook.wait_for_python("units.selected == [1, 5]")
    assert notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == cell_before
    assert notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.mode") == "command"
    assert notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 2
    notebook.page.mouse.move(1, 1)
    assert "Unit (1, 5) of conv" in notebook.page.locator(".dlw-announcement").inner_text()
    notebook.page.keyboard.press("Escape")
    notebook.wait_for_python("units.selected == []")
    pictures.click(INPUT, (4, 4))
    notebook.wait_for_python("pixels.selected == [4, 4]")
    pictures.click(UNITS, (0, 0))
    notebook.wait_for_python("units.selected == [0, 0] and pixels.selected == []")
    assert notebook.errors == []


def test_two_views_share_the_pin_but_not_the_hover(notebook):
    opened = notebook([SETUP, "exhibit", "exhibit"]).run_all()
    page = opened.page
    page.wait_for_function("document.querySelectorAll('.dlw-raster-hover').length === 4")
    pictures = Pictures(page)
    pictures.hover(UNITS, (3, 4))
    lines = page.locator(".dlw-readout > span:first-child")
    assert "Unit (3, 4)" in lines.nth(0).inner_text()
    assert lines.nth(1).inner_text() == "Hover a unit."
    pictures.click(UNITS, (3, 4))
    page.wait_for_function("document.querySelectorAll('.dlw-readout')[1].textContent.includes('Unit (3, 4)')")
    assert opened.errors == []


def test_hovered_cells_reach_the_kernel(shown):
    notebook, pictures = shown
    pictures.hover(UNITS, (5, 6))
    notebook.wait_for_python("units.hovered == [5, 6]")
    notebook.page.mouse.move(1, 1)
    notebook.wait_for_python("units.hovered == []")


def test_a_saved_figure_holds_the_picture(shown):
    notebook, pictures = shown
    notebook.execute("saved = []; figures.children[1].get_png_data(lambda data: saved.append(bytes(data)), scale=1)")
    notebook.wait_for_python("len(saved) == 1")
    url = "data:image/png;base64," + notebook.python("__import__('base64').b64encode(saved[0]).decode()")
    figure = notebook.page.evaluate(
        """() => {
            const figure = document.querySelectorAll('.dlw-raster-hover')[1].closest('.bqplot').getBoundingClientRect();
            return [figure.left, figure.top];
        }"""
    )
    colour_at = """async ([url, x, y]) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        const canvas = Object.assign(document.createElement('canvas'), {width: image.width, height: image.height});
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        return [...context.getImageData(x, y, 1, 1).data];
    }"""
    for cell in ((0, 0), (7, 7), (15, 15)):
        x, y = pictures.point(INPUT, cell)
        assert notebook.page.evaluate(colour_at, [url, x - figure[0], y - figure[1]]) == [200, 200, 200, 255]
    notebook.execute("figures.children[0].get_svg_data(lambda data: saved.append(bytes(data)))")
    notebook.wait_for_python("len(saved) == 2")
    svg = base64.b64decode(notebook.python("__import__('base64').b64encode(saved[1]).decode()")).decode()
    assert svg.count('href="data:image/png') >= 2
    assert "foreignObject" not in svg


def test_errors_progress_and_names_are_text(shown):
    notebook, _ = shown
    page = notebook.page
    notebook.execute("exhibit._error = '<img src=x onerror=window.hacked=1>'")
    alert = page.locator(".dlw-error")
    page.wait_for_function("document.querySelector('.dlw-error').textContent.includes('<img')")
    assert alert.locator("img").count() == 0
    alert.get_by_role("button", name="Dismiss").click()
    assert alert.is_hidden()
    notebook.execute(
        "heard = []; exhibit.on_msg(lambda _, content, __: heard.append(content));"
        "exhibit._busy = True; exhibit._progress = {'fraction': .25, 'text': '1 of 4'}"
    )
    page.locator(".dlw-progress").get_by_text("1 of 4").wait_for()
    assert page.locator(".dlw-progress progress").evaluate("bar => bar.value") == 0.25
    page.get_by_role("button", name="Stop").click()
    notebook.wait_for_python("{'type': 'stop'} in heard")
    assert page.locator(".dlw-exhibit .noUi-handle").get_attribute("aria-label") == "depth"
    figures = page.locator(".dlw-exhibit svg.svg-figure")
    names = [figures.nth(i).evaluate("svg => [svg.getAttribute('role'), svg.querySelector('title').textContent,"
             "svg.querySelector('desc').textContent, svg.tabIndex]") for i in range(2)]  # fmt: skip
    assert names == [["img", "Units", "64 activations", 0], ["img", "Input", "A grey picture", 0]]
    notebook.execute(
        "exhibit._label(slider, 'Depth of the stack'); exhibit._label(figures.children[0], 'Map', 'Bright')"
    )
    page.wait_for_function("document.querySelector('.dlw-exhibit svg.svg-figure title').textContent === 'Map'")
    assert page.locator(".dlw-exhibit .noUi-handle").get_attribute("aria-label") == "Depth of the stack"
    choice = "choice = ipywidgets.ToggleButtons(options=['train', 'eval']); exhibit.children += (choice,)"
    notebook.execute(f"{choice}; exhibit._label(choice, 'Mode')")
    page.get_by_role("group", name="Mode").get_by_role("button", name="train").wait_for()
    assert page.evaluate("window.hacked") is None


def test_a_restarted_kernel_is_noticed(shown):
    notebook, _ = shown
    banner = notebook.page.locator(".dlw-disconnected")
    assert banner.is_hidden()
    notebook.page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart() }"
    )
    banner.get_by_text("run the cell again").wait_for()


def test_a_killed_kernel_is_noticed(shown):
    notebook, _ = shown
    notebook.page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            void kernel.requestExecute({code: 'import os; os._exit(1)'});
        }"""
    )
    notebook.page.locator(".dlw-disconnected").get_by_text("run the cell again").wait_for()


def test_another_protocol_says_which_side_to_upgrade(notebook):
    opened = notebook([SETUP + "exhibit._protocol = 99; units._protocol = 0", "exhibit"]).run_all()
    opened.page.locator(".dlw-mismatch").get_by_text("environment of the Jupyter server").wait_for()
    opened.page.locator(".dlw-notice").get_by_text("environment of the kernel").wait_for()


def test_fields_without_product_form_are_asked_for_one_at_a_time(notebook):
    query = """
rng = np.random.default_rng(0)
truth = rng.random((8, 8, 16, 16)) < .1
boxes = np.zeros((8, 8, 2, 2), np.int32); boxes[..., 1] = 16
asked = []
def answer(role, index):
    asked.append((role, list(index)))
    return truth[index] if role == "unit" else truth[(slice(None), slice(None), *index)]
link.on_query(answer)
link.show_boxes(boxes, (8, 8), (16, 16), label="sorted", because="aten.sort")
exhibit"""
    opened = notebook([SETUP, query]).run_all()
    pictures = Pictures(opened.page)
    pictures.hover(UNITS, (3, 4))
    count = opened.python("int(truth[3, 4].sum())")
    opened.page.wait_for_function(
        f"document.querySelector('.dlw-readout').textContent.includes('sees {count} of 256 pixels')"
    )
    expected = {tuple(place) for place in opened.python("np.argwhere(truth[3, 4]).tolist()")}
    assert pictures.lit(INPUT, 16) == expected
    pictures.hover(INPUT, (2, 2))
    count = opened.python("int(truth[:, :, 2, 2].sum())")
    opened.page.wait_for_function(
        f"document.querySelector('.dlw-readout').textContent.includes('is seen by {count} of 64 units')"
    )
    assert opened.python("asked")[0] == ["unit", [3, 4]]


def test_the_palette_inserts_a_cell_that_runs(notebook):
    opened = notebook(["1 + 1"])
    page = opened.page
    page.locator(".jp-CodeCell").first.click()
    opened.command("apputils:activate-command-palette")
    page.locator(".lm-CommandPalette-input").fill("Deep learning: insert ReceptiveFieldViewer")
    page.locator(".lm-CommandPalette-item").first.click()
    page.wait_for_function("window.jupyterapp.shell.currentWidget.content.widgets.length === 2")
    opened.run_all()
    page.locator(".dlw-exhibit").wait_for()
    assert opened.errors == []


def test_odd_pictures_are_drawn(notebook):
    cell = """
odd = [np.full((4, 4), np.nan, np.float32), np.full((4, 4), 3, np.float32), np.zeros((1, 1), np.float32),
       np.array([[np.inf, 1, -np.inf]], np.float32), np.zeros((2048, 2048), np.uint8)]
ipywidgets.VBox([raster_figure(Raster(image)) for image in odd])"""
    opened = notebook([SETUP, cell]).run_all()
    opened.page.wait_for_function(
        "[...document.querySelectorAll('.dlw-raster-picture')].filter(canvas => canvas.width > 300).length === 5"
    )
    ink = """() => [...document.querySelectorAll('.dlw-raster-picture')].map((canvas) => {
        const {data} = canvas.getContext('2d').getImageData(canvas.width >> 1, canvas.height >> 1, 16, 16);
        return Math.max(...data.filter((_, i) => i % 4 === 3));  // a hatch has gaps
    })"""
    assert min(opened.page.evaluate(ink)) > 250
    assert opened.errors == []
