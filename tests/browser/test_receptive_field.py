"""ReceptiveFieldViewer in a real JupyterLab, and as a page without a kernel."""

import pytest
import torch
from torch import nn

from dlwidgets import ReceptiveFieldViewer

SETUP = """
import torch
from torch import nn
from dlwidgets import ReceptiveFieldViewer
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, dilation=2))
viewer = ReceptiveFieldViewer(model, (1, 3, 32, 32))
"""
UNITS, INPUT = 0, 1
NUM_UNITS, NUM_PIXELS = 11, 32

LIT = """([which, size]) => {
    const canvas = document.querySelectorAll('.dlw-raster-hover')[which];
    const context = canvas.getContext('2d');
    const side = Math.min(canvas.width, canvas.height) / size;
    const left = (canvas.width - side * size) / 2, top = (canvas.height - side * size) / 2;
    const lit = [];
    for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
            const at = [left + (column + 0.5) * side, top + (row + 0.5) * side];
            const [red, green, blue, alpha] = context.getImageData(...at, 1, 1).data;
            if (red + green + blue > 0 || alpha !== 150) {
                lit.push([row, column]);
            }
        }
    }
    return lit;
}"""
"""The cells of a picture that are not under the dark veil."""

COUNT_SENT = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    window.sent = 0;
    kernel.anyMessage.connect((_, {direction}) => { window.sent += direction === 'send' ? 1 : 0; });
}"""


def wait_until_drawn(page):
    page.wait_for_function(
        "[...document.querySelectorAll('.dlw-raster-hover')].filter(canvas => canvas.width > 100).length >= 2"
    )
    page.wait_for_function(
        "[...document.querySelectorAll('.dlw-readout > span')].some(({textContent}) => textContent.startsWith('Unit'))"
    )
    page.locator(".dlw-exhibit").first.scroll_into_view_if_needed()


def place(page, which, cell, size):
    """Where the middle of a cell is on the page."""
    box = page.locator(".dlw-raster-hover").nth(which).bounding_box()
    side = min(box["width"], box["height"]) / size
    left, top = box["x"] + (box["width"] - side * size) / 2, box["y"] + (box["height"] - side * size) / 2
    return left + side * (cell[1] + 0.5), top + side * (cell[0] + 0.5)


def lit(page, which, size):
    return {tuple(cell) for cell in page.evaluate(LIT, [which, size])}


def readout(page):
    return page.locator(".dlw-readout > span").first.inner_text()


def field_of(unit):
    """The pixels that a unit of the network above sees, by hand: taps 4 apart, patches of 3 by 3."""
    starts = [[2 * (at + 2 * tap) for tap in range(3)] for at in unit]
    rows, columns = ({start + i for start in along for i in range(3)} for along in starts)
    return {(row, column) for row in rows for column in columns}


@pytest.fixture
def shown(notebook):
    opened = notebook([SETUP, "viewer"]).run_all()
    wait_until_drawn(opened.page)
    return opened


def test_hovering_lights_the_true_pixels_and_asks_the_kernel_nothing(shown):
    page = shown.page
    page.evaluate(COUNT_SENT)
    for unit in ((0, 0), (5, 7), (10, 10)):
        page.mouse.move(*place(page, UNITS, unit, NUM_UNITS))
        assert lit(page, INPUT, NUM_PIXELS) == field_of(unit)
        assert readout(page).startswith(f"Unit {unit} of output sees {len(field_of(unit))} of 1,024 pixels")
    page.mouse.move(*place(page, INPUT, (9, 9), NUM_PIXELS))
    seen_by = {(r, c) for r in range(NUM_UNITS) for c in range(NUM_UNITS) if (9, 9) in field_of((r, c))}
    assert lit(page, UNITS, NUM_UNITS) == seen_by
    assert readout(page).startswith(f"Pixel (9, 9) is seen by {len(seen_by)} of 121 units")
    assert page.evaluate("window.sent") == 0
    assert shown.errors == []


def test_a_click_pins_and_arrow_keys_move_the_unit_and_no_cell(shown):
    page = shown.page
    page.keyboard.press("Escape")
    page.mouse.click(*place(page, UNITS, (2, 3), NUM_UNITS))
    shown.wait_for_python("viewer.unit == (2, 3)")
    active = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    shown.wait_for_python("viewer.unit == (3, 4)")
    assert shown.python("viewer.field.count") == len(field_of((3, 4)))
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == active
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.mode") == "command"
    page.mouse.move(1, 1)
    page.wait_for_function("document.querySelector('.dlw-readout > span').textContent.startsWith('Unit (3, 4)')")
    page.mouse.click(*place(page, INPUT, (20, 21), NUM_PIXELS))
    shown.wait_for_python("viewer.pixel == (20, 21)")
    shown.execute("viewer.unit = (7, 8)")
    page.mouse.move(1, 1)
    page.wait_for_function("document.querySelector('.dlw-readout > span').textContent.startsWith('Unit (7, 8)')")
    assert shown.errors == []


def test_layers_are_chosen_by_their_bars_and_by_name(shown):
    page = shown.page
    page.locator(".dlw-exhibit g.bargroup rect").first.click()
    shown.wait_for_python("viewer.layer == 0 and not viewer._busy")
    page.locator(".dlw-exhibit .mainheading").get_by_text("layer 0 (Conv2d): 15 × 15 units").wait_for()
    page.get_by_label("Layer", exact=True).select_option("output")
    shown.wait_for_python("viewer.layer is None and not viewer._busy")
    assert shown.python("viewer._pictures.map.out_shape") == [11, 11]
    page.get_by_label("Input size").select_option("48 × 48")
    shown.wait_for_python("viewer.result.input_shape == (1, 3, 48, 48)")
    assert shown.errors == []


def test_what_goes_wrong_is_said_in_the_page_and_the_kernel_lives_on(notebook):
    cell = """
broken = ReceptiveFieldViewer(nn.Conv2d(5, 2, 3), torch.zeros(1, 3, 8, 8))
broken.wait()
broken
"""
    opened = notebook([SETUP, cell, "viewer"]).run_all()
    alert = opened.page.locator(".dlw-exhibit").first.locator(".dlw-error")
    alert.get_by_text("model cannot run on example of shape (1, 3, 8, 8)").wait_for()
    wait_until_drawn(opened.page)
    assert opened.python("1 + 1") == 2
    opened.execute("viewer.unit = (0, 0)")
    opened.wait_for_python("viewer.field.count == 81")
    assert opened.errors == []


def test_the_effective_field_appears_beside_the_others(shown):
    page = shown.page
    page.get_by_role("button", name="effective field").click()
    page.locator(".dlw-words").get_by_text("Of the influence on this unit").wait_for()
    page.wait_for_function(
        "[...document.querySelectorAll('.dlw-raster-hover')].filter(canvas => canvas.width > 100).length === 3"
    )
    page.get_by_label("Scale of the effective field").select_option("log")
    page.locator(".mainheading").get_by_text("effective field (log)").wait_for()
    assert shown.errors == []


def test_two_stacks_are_edited_side_by_side(notebook):
    cell = """
stacks = ReceptiveFieldViewer.from_layers([{"kernel_size": 3}], [{"kernel_size": 3, "dilation": 2}])
stacks.wait()
stacks.other.wait()
stacks
"""
    opened = notebook([SETUP, cell]).run_all()
    page = opened.page
    page.wait_for_function(
        "[...document.querySelectorAll('.dlw-raster-hover')].filter(canvas => canvas.width > 100).length === 4"
    )
    number = page.get_by_label("Layer 1: kernel size").first
    number.fill("5")
    number.press("Enter")
    opened.wait_for_python("stacks.result.layers[0].size == (5, 5)")
    page.locator(".dlw-readout > span:first-child").get_by_text("sees 25 of 2,304 pixels").wait_for()
    assert opened.python("stacks.other.field.count") == 9
    page.get_by_role("button", name="add a layer").first.click()
    page.get_by_label("Layer 2: stride").first.wait_for()
    assert opened.errors == []


def test_a_restarted_kernel_is_noticed(shown):
    banner = shown.page.locator(".dlw-disconnected")
    assert banner.is_hidden()
    shown.page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart() }"
    )
    banner.get_by_text("run the cell again").wait_for()


def test_ten_runs_of_a_cell_leave_one_viewer(notebook):
    cell = "ReceptiveFieldViewer(model, (1, 3, 32, 32))"
    opened = notebook([SETUP + "viewer.close()", cell]).run_all()
    wait_until_drawn(opened.page)
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    once = opened.python(count)
    opened.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    for run in range(2, 5):
        opened.command("notebook:run-cell")
        opened.page.wait_for_function(
            f"window.jupyterapp.shell.currentWidget.content.widgets[1].model.executionCount === {run + 1}"
        )
        opened.wait_until_run()
    opened.wait_for_python(f"{count} == {once}")
    assert opened.python(count) == once


@pytest.fixture
def page_of(chromium, tmp_path):
    contexts = []

    def open_page(viewer):
        path = viewer.export(tmp_path / "page.html")
        contexts.append(chromium.new_context(offline=True, viewport={"width": 1200, "height": 1000}))
        page = contexts[-1].new_page()
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(path.as_uri())
        wait_until_drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_an_exported_page_goes_on_answering_with_the_network_off(page_of):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, dilation=2))
    viewer = ReceptiveFieldViewer(model, (1, 3, 32, 32))
    page = page_of(viewer)
    for unit in ((0, 0), (4, 9)):
        page.mouse.move(*place(page, UNITS, unit, NUM_UNITS))
        assert lit(page, INPUT, NUM_PIXELS) == field_of(unit)
    page.mouse.click(*place(page, UNITS, (4, 9), NUM_UNITS))
    page.mouse.move(1, 1)
    page.wait_for_function("document.querySelector('.dlw-readout > span').textContent.startsWith('Unit (4, 9)')")
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.locator(".dlw-alert:visible").count() == 0
    assert page.errors == []
    viewer.close()


def test_an_exported_page_says_at_most_where_it_knows_a_box_and_no_more(page_of):
    kernel = (torch.rand(1, 1, 11, 11, generator=torch.Generator().manual_seed(0)) < 0.5).float()

    class Scattered(nn.Module):
        """A fixed kernel with scattered holes."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kernel", kernel)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.kernel)

    viewer = ReceptiveFieldViewer(Scattered(), (1, 1, 16, 16))
    page = page_of(viewer)
    page.mouse.move(*place(page, UNITS, (2, 3), 6))
    assert "at most 121 of 256 pixels" in readout(page)
    viewer.close()
