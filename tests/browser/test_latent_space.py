"""LatentSpaceExplorer in a real JupyterLab, and in a page without a kernel."""

import math
import re

import pytest
import torch
from latent_plane import GREEN, GREY, LINES, ORANGE, PINK, PIXELS, SETUP, Plane, drag

from dlwidgets.widgets.latent_space import LatentSpaceExplorer

SENT = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    window.received = [];
    kernel.anyMessage.connect((_, {direction, msg}) => {
        if (direction === 'recv' && msg.header.msg_type === 'comm_msg' && msg.content.data.method === 'update') {
            window.received.push(msg.content.comm_id);
        }
    });
}"""


def sigmoid(value: float) -> float:
    return 255 / (1 + math.exp(-value))


@pytest.fixture
def shown(notebook):
    opened = notebook([SETUP, "explorer = LatentSpaceExplorer((encode, decode), decode(corners), names); explorer"])
    opened.run_all()
    opened.execute("explorer.wait()")
    return opened, Plane(opened.page)


def test_the_picture_follows_the_pointer_and_becomes_exact(shown):
    notebook, plane = shown
    page = notebook.page
    notebook.execute("explorer._plane.picture.exact_at = []")
    plane.move(1.0, -0.5)
    page.wait_for_function("document.querySelector('.dlw-decoded').dataset.source === 'exact'")
    notebook.wait_for_python("explorer.z is not None and not explorer._busy")
    x, y = notebook.python("explorer.z")
    assert (x, y) == pytest.approx((1.0, -0.5), abs=0.2)
    assert page.evaluate(PIXELS, "here") == [2, 2, *[round(sigmoid(v)) for v in (x, y, x, y)]]
    assert plane.caption().endswith("decoded exactly")
    # Where the kernel does not answer, the browser has done so already.
    page.evaluate(SENT)
    notebook.execute("explorer._plane.cloud.unobserve_all('pointer')")
    plane.move(-1.5, 2.5)
    page.wait_for_function("document.querySelector('.dlw-decoded').dataset.source === 'interpolated'")
    width, height, *grey = page.evaluate(PIXELS, "here")
    assert (width, height) == (2, 2)
    place = plane.place()
    assert place == pytest.approx([-1.5, 2.5], abs=0.2)
    assert grey == pytest.approx([sigmoid(v) for v in 2 * place], abs=1)
    picture = notebook.python("explorer._plane.picture.model_id")
    assert picture not in page.evaluate("window.received")
    assert notebook.errors == []


def test_points_are_hovered_selected_and_hidden(shown):
    notebook, plane = shown
    page = notebook.page
    plane.move(2.0, -2.0)
    page.locator(".dlw-tile-data").get_by_text("image 1, class right").wait_for()
    expected = [round(sigmoid(v)) for v in (2, -2, 2, -2)]
    assert page.evaluate(PIXELS, "data") == pytest.approx([2, 2, *expected], abs=1)
    assert page.evaluate(PIXELS, "again") == pytest.approx([2, 2, *expected], abs=1)
    notebook.wait_for_python("explorer._plane.posterior.visible")
    page.keyboard.down("Shift")
    plane.move(-2.8, 2.8)
    page.mouse.down()
    for corner in ((-1, 2.8), (-1, -2.8), (-2.8, -2.8), (-2.8, 2.8)):
        plane.move(*corner)
    page.mouse.up()
    page.keyboard.up("Shift")
    notebook.wait_for_python("explorer.selected == (0, 2)")
    page.locator(".dlw-filmstrip").get_by_text("2 images selected.").wait_for()
    page.get_by_role("button", name="right").click()
    notebook.wait_for_python("explorer._plane.cloud.hidden == [2]")
    assert page.get_by_role("button", name="right").get_attribute("aria-pressed") == "false"
    plane.move(2.0, -2.0)
    page.wait_for_function("!document.querySelector('.dlw-tile-data').textContent.includes('right')")
    assert notebook.errors == []


SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# What a browser tells of the marks inside a figure when an outline appears under a pointer that rests.
LEAVE_THE_MARKS = """() => document.querySelectorAll('.dlw-latent-plane svg path').forEach((path) =>
    path.dispatchEvent(new PointerEvent('pointerleave')))"""


def test_an_outline_that_appears_under_the_pointer_does_not_end_the_hover(shown):
    notebook, plane = shown
    page = notebook.page
    plane.move(2.0, 2.0)
    page.locator(".dlw-tile-data").get_by_text("image 3, class right").wait_for()
    page.wait_for_function(f"({LINES})('{PINK}') === 2")
    page.evaluate(LEAVE_THE_MARKS)
    page.evaluate(SETTLED)
    notebook.execute("explorer.wait()")
    assert notebook.python("explorer._plane.cloud.hovered") == 3
    page.mouse.move(1, 1)
    notebook.wait_for_python("explorer._plane.cloud.hovered == -1")
    page.wait_for_function(f"({LINES})('{PINK}') === 0")
    assert notebook.errors == []


def test_keys_move_the_probe_and_z_can_be_typed(shown):
    notebook, plane = shown
    page = notebook.page
    page.mouse.click(*plane.point(0.5, 0.5))
    notebook.wait_for_python("explorer.z is not None and not explorer._busy")
    before = notebook.python("explorer.z")
    page.mouse.move(1, 1)
    page.keyboard.press("ArrowRight")
    notebook.wait_for_python(f"explorer.z[0] > {before[0]} and explorer.z[1] == {before[1]}")
    page.keyboard.press("ArrowUp")
    notebook.wait_for_python(f"explorer.z[1] > {before[1]}")
    typed = page.get_by_label("Code of the probe, numbers separated by commas")
    typed.fill("1.25, -0.75")
    typed.press("Enter")
    page.wait_for_function(
        "document.querySelector('.dlw-tile-here').textContent === 'z1 1.25, z2 −0.75: decoded exactly'"
    )
    page.wait_for_function("[...document.querySelectorAll('input')].some((input) => input.value === '1.25, −0.75')")
    typed.fill("somewhere")
    typed.press("Enter")
    page.locator(".dlw-error").get_by_text("z: expected numbers").wait_for()
    assert notebook.errors == []


def test_a_path_is_dragged_and_the_parts_keep_their_order(shown):
    notebook, plane = shown
    page = notebook.page
    notebook.execute("explorer.path = ((-1, 0), (1, 0)); explorer.wait()")
    page.locator(".dlw-filmstrip").get_by_text("Along the linear path, 2 long").wait_for()
    page.mouse.move(*plane.point(1, 0))
    page.mouse.down()
    page.mouse.move(*plane.point(1, 1), steps=4)
    page.mouse.move(*plane.point(1, 2), steps=4)
    page.mouse.up()
    notebook.wait_for_python("abs(explorer.path[1][1] - 2) < 0.1 and not explorer._busy")
    page.locator(".dlw-filmstrip").get_by_text("Along the linear path, 2.8").wait_for()
    tops = page.evaluate(
        """() => ['Grey: the prior', '5 images in 2', 'Along the linear'].map((words) =>
            [...document.querySelectorAll('.dlw-exhibit *')].filter((element) => element.children.length === 0)
                .find((element) => element.textContent.startsWith(words)).getBoundingClientRect().top)"""
    )
    assert tops == sorted(tops)
    assert notebook.errors == []


DRAWN = """() => [...document.querySelectorAll('canvas.dlw-points-picture')].map((canvas) => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.closest('foreignObject').dataset.renderer, data.some((value) => value !== 0)];
})"""
COUNT_CONTEXTS = """() => {
    const get = HTMLCanvasElement.prototype.getContext;
    window.numContexts = 0;
    HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        window.numContexts += kind === 'webgl2';
        return get.call(this, kind, ...rest);
    };
}"""


def test_twenty_explorers_draw_with_one_context(notebook):
    cell = (
        "import ipywidgets\n"
        "explorers = [LatentSpaceExplorer((encode, decode), decode(corners), names) for _ in range(20)]\n"
        "for each in explorers:\n"
        "    each.wait()\n"
        "    each._plane.cloud.renderer = 'gl'\n"
        "ipywidgets.VBox(explorers)"
    )
    opened = notebook([SETUP, cell])
    opened.page.evaluate(COUNT_CONTEXTS)
    opened.run_all()
    opened.page.wait_for_function(f"({DRAWN})().filter(([_, drawn]) => drawn).length === 20")
    assert opened.page.evaluate(DRAWN) == [["gl", True]] * 20
    assert opened.page.evaluate("window.numContexts") == 1
    assert opened.errors == []


def decode(codes):
    grey = torch.sigmoid(codes.double())
    return torch.stack([grey[:, 0], grey[:, 1], grey[:, 0], grey[:, 1]], 1).reshape(-1, 2, 2)


def encode(images):
    mean = torch.logit(images.flatten(1)[:, :2])
    return mean, torch.full_like(mean, 2 * math.log(0.25))


@pytest.mark.parametrize("width", [360, 1100])
def test_a_page_without_a_kernel_goes_on_decoding(chromium, tmp_path, width):
    codes = torch.tensor([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]], dtype=torch.float64)
    explorer = LatentSpaceExplorer((encode, decode), decode(codes), ["a", "b", "a", "b"])
    path = explorer.export(tmp_path / "space.html")
    explorer.close()
    context = chromium.new_context(offline=True, viewport={"width": width, "height": 1500})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    plane = Plane(page)
    plane.move(-1.0, 1.5)
    page.wait_for_function("document.querySelector('.dlw-decoded').dataset.source === 'interpolated'")
    grey = page.evaluate(PIXELS, "here")[2:]
    assert plane.place() == pytest.approx([-1.0, 1.5], abs=0.2)
    assert grey == pytest.approx([sigmoid(v) for v in 2 * plane.place()], abs=1)
    plane.move(2.0, 2.0)
    page.locator(".dlw-tile-data").get_by_text("image 3, class b").wait_for()
    assert page.evaluate(PIXELS, "again")[2:] == pytest.approx([round(sigmoid(2))] * 4, abs=1)
    page.get_by_role("button", name="b", exact=True).click()
    assert page.get_by_role("button", name="b", exact=True).get_attribute("aria-pressed") == "false"
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    assert errors == []
    context.close()


MANIFOLD = """([x, y]) => {
    const canvas = document.querySelector('canvas.dlw-manifold-picture');
    const column = Math.round((0.5 + x / 6 * 0.95) * canvas.width);
    const row = Math.round((0.5 - y / 6 * 0.95) * canvas.height);
    return [...canvas.getContext('2d').getImageData(column, row, 1, 1).data];
}"""


def test_the_controls_do_what_they_say(shown):
    notebook, plane = shown
    page = notebook.page
    # the manifold is painted: its left and right halves of a tile are the two numbers of the code there
    assert page.evaluate(MANIFOLD, [2, 2])[3] == 0
    page.get_by_role("slider", name="How strongly the decoded plane shows").press("End")
    page.wait_for_function(f"({MANIFOLD})([2, 2])[3] === 255")
    for place in ((2, 2), (-2, -2)):
        red, green, blue, _ = page.evaluate(MANIFOLD, place)
        assert red == green == blue
        assert red == pytest.approx(sigmoid(place[0]), abs=25)
    # contours
    wait_for_lines = f"([color, count]) => ({LINES})(color) === count"
    page.wait_for_function(wait_for_lines, arg=[GREY, 3])
    page.wait_for_function(wait_for_lines, arg=[ORANGE, 1])
    page.get_by_role("button", name="contours", exact=True).click()
    page.wait_for_function(wait_for_lines, arg=[GREY, 0])
    page.wait_for_function(wait_for_lines, arg=[ORANGE, 0])
    page.get_by_text("Grey: the prior").wait_for(state="hidden")
    # what dragging does
    page.get_by_role("button", name="brush", exact=True).click()
    drag(plane, (-2.9, 2.9), (-1, -2.9))
    notebook.wait_for_python("explorer.selected == (0, 2)")
    page.locator(".dlw-filmstrip").get_by_text("2 images selected.").wait_for()
    page.get_by_role("button", name="lasso", exact=True).click()
    drag(plane, (0, 1), (-1, -1), (1, -1), (0, 1))
    notebook.wait_for_python("explorer.selected == (4,)")
    assert notebook.python("explorer._plane.cloud.scales['x'].min") == -3
    page.get_by_role("button", name="move", exact=True).click()
    drag(plane, (0, 1), (1, 1))
    notebook.wait_for_python("abs(explorer._plane.cloud.scales['x'].min + 4) < 0.1")
    assert notebook.python("explorer.selected") == [4]
    notebook.execute("explorer._plane.cloud.scales['x'].min, explorer._plane.cloud.scales['x'].max = -3, 3")
    # a path; the classes' means lie in opposite directions
    strip = page.locator(".dlw-filmstrip")
    page.get_by_label("Kind of path").select_option("spherical")
    page.get_by_role("button", name="path", exact=True).click()
    strip.get_by_text("Along the spherical path").wait_for()
    page.wait_for_function(f"({LINES})('{GREEN}') > 0")
    page.get_by_label("Kind of path").select_option("linear")
    strip.get_by_text("Along the linear path").wait_for()
    notebook.execute("explorer.path_kind = 'spherical'; explorer.path = ((-1, 0), (1, 0)); explorer.wait()")
    page.locator(".dlw-error").get_by_text("opposite directions").wait_for()
    strip.get_by_text("Along the").wait_for(state="hidden")
    page.wait_for_function(f"({LINES})('{GREEN}') === 0")
    drag(plane, (1, 0), (1, 1), (1, 2))
    strip.get_by_text("Along the spherical path").wait_for()
    page.locator(".dlw-error").wait_for(state="hidden")
    page.get_by_role("button", name="path", exact=True).click()
    strip.get_by_text("Along the").wait_for(state="hidden")
    assert notebook.errors == []


def test_four_dimensions_are_chosen_for_the_axes(notebook):
    cell = (
        "images = torch.rand(40, 2, 2, dtype=torch.float64)\n"
        "four = (lambda images: images.flatten(1), lambda codes: codes.reshape(-1, 2, 2))\n"
        "explorer = LatentSpaceExplorer(four, images, view='plane')\n"
        "explorer"
    )
    opened = notebook([SETUP, cell])
    opened.run_all()
    page = opened.page
    labels = (
        "[...document.querySelectorAll('.dlw-latent-plane text.axislabel')].map((label) => label.textContent).join()"
    )
    sliders = (
        "[...document.querySelectorAll('.widget-hslider')].filter((each) => /^z[0-9]/.test(each.textContent))"
        ".map((each) => each.textContent.slice(0, 2)).join()"
    )
    page.wait_for_function(f"{labels} === 'z1,z2' && {sliders} === 'z3,z4'")
    page.get_by_label("Dimension along x").select_option("z4")
    page.wait_for_function(f"{labels} === 'z4,z2' && {sliders} === 'z1,z3'")
    page.get_by_label("Dimension along y").select_option("z4")
    page.wait_for_function(f"{labels} === 'z2,z4' && {sliders} === 'z1,z3'")
    page.get_by_label("Which plane").select_option("principal components")
    page.wait_for_function(f"{labels} === 'PC1,PC2'")
    assert opened.errors == []


ODD = """
import ipywidgets

def far(codes):
    if bool((codes.abs() > 2).any()):
        raise RuntimeError("too far out")
    return decode(codes)

def some_nowhere(images):
    mean, log_variance = encode(images)
    return torch.where(mean[:, :1] > 1, math.nan, mean), log_variance

def nowhere(images):
    return torch.full((len(images), 2), math.nan), torch.full((len(images), 2), math.nan)

def one(images):
    mean = torch.logit(images.flatten(1)[:, :1])
    return mean, torch.full_like(mean, -2.0)

def from_one(codes):
    return torch.sigmoid(codes.double()).repeat(1, 4).reshape(-1, 2, 2)

images = decode(corners)
odd = [
    LatentSpaceExplorer((encode, far), images, names),
    LatentSpaceExplorer((some_nowhere, decode), images, names),
    LatentSpaceExplorer((nowhere, decode), images, names),
    LatentSpaceExplorer((encode, decode), images[:1]),
    LatentSpaceExplorer((encode, decode), images),
    LatentSpaceExplorer((encode, decode), images, ["alone"] * 5),
    LatentSpaceExplorer((one, from_one), images, names),
    LatentSpaceExplorer((encode, decode), images, dims=(0, 5)),
]
ipywidgets.VBox(odd)
"""
SAID = [
    "The decoder gives no picture at",
    "2 images not drawn, because the code is not finite",
    "5 images not drawn, because the code is not finite",
    "1 image in 2 latent dimensions; KL",
    "5 images in 2 latent dimensions; KL",
    "5 images in 2 latent dimensions; 1 class; KL",
    "5 images in 1 latent dimension; 3 classes",
    "dims: expected two different dimensions from 0 to 1, got (0, 5)",
]


def test_odd_input_is_said_or_shown_and_the_explorer_goes_on(notebook):
    opened = notebook([SETUP, ODD], height=6000)
    opened.run_all()
    opened.execute("for each in odd:\n    each.wait()\nodd[-1].dims = (0, 1)\nodd[-1].wait()")
    page = opened.page
    for nth, words in enumerate(SAID[:-1]):
        page.locator(".dlw-exhibit").nth(nth).get_by_text(words).first.wait_for()
    assert opened.python("odd[-1].error") == ""
    for nth in range(len(SAID)):
        plane = Plane(page, nth)
        page.mouse.move(*plane.point(0.5, 0.25))
        page.wait_for_function("n => document.querySelectorAll('.dlw-decoded')[n].dataset.source === 'exact'", arg=nth)
        grey = page.evaluate(
            PIXELS.replace(".querySelector(", f".querySelectorAll('.dlw-decoded')[{nth}].querySelector("), "here"
        )
        assert grey[2] == pytest.approx(sigmoid(0.5), abs=6)
    # with one latent dimension prior and posteriors are outlined too
    plane = Plane(page, 6)
    seen = LINES.replace(
        "document.querySelectorAll('.dlw-latent-plane",
        "document.querySelectorAll('.dlw-latent-plane')[6].querySelectorAll('",
    )
    assert page.evaluate(seen, GREY) == 3
    assert page.evaluate(seen, ORANGE) == 1
    assert opened.errors == []


def test_a_clicked_image_is_called_so_and_a_typed_code_out_of_sight_is_said(shown):
    notebook, plane = shown
    page = notebook.page
    page.mouse.click(*plane.point(2.0, -2.0))
    page.locator(".dlw-tile-data").get_by_text("the clicked image 1, class right").wait_for()
    page.locator(".dlw-filmstrip").get_by_text("The clicked image 1 encoded 8 times").wait_for()
    plane.move(-2.0, 2.0)
    page.locator(".dlw-tile-data").get_by_text(re.compile("^image 2, class left")).wait_for()
    page.get_by_text("Pink: image 2.").wait_for()
    typed = page.get_by_role("textbox", name="Code of the probe, numbers separated by commas")
    typed.fill("9, 9")
    typed.press("Enter")
    here = page.locator(".dlw-tile-here figcaption")
    here.get_by_text("z1 9, z2 9: decoded exactly; outside of what the plot shows").wait_for()
    page.locator(".dlw-tile-data").get_by_text("the clicked image 1, class right").wait_for()
    page.get_by_text("Pink: image").wait_for(state="hidden")
    notebook.execute("explorer._plane.cloud.scales['x'].max = explorer._plane.cloud.scales['y'].max = 10.0")
    here.get_by_text(re.compile("z2 9: decoded exactly$")).wait_for()
    assert notebook.errors == []
