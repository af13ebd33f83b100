"""Clouds of points in a real JupyterLab: drawing, looking up, selecting, the keyboard, many figures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from dlwidgets.export import export_page
from dlwidgets.marks.point_cloud import PointCloud, point_figure

SETUP = """
import numpy as np, ipywidgets
from dlwidgets.marks.point_cloud import PointCloud, point_figure
rng = np.random.default_rng(0)
x, y = rng.normal(size=(2, 2000)).astype(np.float32)
color = np.arange(2000) % 3
cloud = PointCloud(x, y, color, size=6)
figure = point_figure(cloud, title="Codes")
"""

DRAWN = """(count) => {
    const drawn = [...document.querySelectorAll('.dlw-points-picture')].filter((canvas) => {
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return canvas.width > 100 && data.some((byte, i) => i % 4 === 3 && byte > 0);
    });
    return drawn.length === count;
}"""

PICTURE = "(n) => document.querySelectorAll('.dlw-points-picture')[n].toDataURL().split(',')[1]"

SETTLED = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"""

LISTEN = """() => {
    window.heard = [];
    for (const name of ['dlwidgets:pointer', 'dlwidgets:click']) {
        document.addEventListener(name, ({type, detail: {x, y, index, source, inside}}) =>
            window.heard.push({type, x, y, index, source, inside}));
    }
}"""

PADDING = 0.025
"""Which share of the plot area a figure keeps free at every side."""


def rgba(png):
    """float (row, column, channel) of a base64 PNG."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"), float)


class Plot:
    """The nth cloud of a page: where data lie in the window, and what is painted."""

    def __init__(self, notebook, number=0, drawn=1):
        self.notebook, self.page, self.number = notebook, notebook.page, number
        self.page.wait_for_function(DRAWN, arg=drawn, polling=200)
        self.canvas = self.page.locator(".dlw-points-hover").nth(number)
        self.canvas.scroll_into_view_if_needed()

    def domain(self):
        """((left, right), (bottom, top)) as Python knows them: fixed by panning, or else by the data."""
        return self.notebook.python(
            "[[float(s.min if s.min is not None else v.min()), float(s.max if s.max is not None else v.max())]"
            " for s, v in ((cloud.scales['x'], cloud.x), (cloud.scales['y'], cloud.y))]"
        )

    def place(self, x, y):
        """The place of a data point, in pixels of the canvas (which are CSS pixels here)."""
        box = self.canvas.bounding_box()
        (left, right), (bottom, top) = self.domain()
        across = PADDING + (1 - 2 * PADDING) * (x - left) / (right - left)
        down = PADDING + (1 - 2 * PADDING) * (top - y) / (top - bottom)
        return across * box["width"], down * box["height"]

    def window(self, x, y):
        """The same in the window."""
        box, (across, down) = self.canvas.bounding_box(), self.place(x, y)
        return box["x"] + across, box["y"] + down

    def pixels(self):
        """float (row, column, channel), after the frame that is under way."""
        self.page.evaluate(SETTLED)
        return rgba(self.page.evaluate(PICTURE, self.number))

    def centroid(self):
        """(across, down) of all that is painted, weighted by its opacity."""
        alpha = self.pixels()[..., 3]
        rows, columns = np.indices(alpha.shape) + 0.5
        return np.array([(columns * alpha).sum(), (rows * alpha).sum()]) / alpha.sum()

    def drag(self, *places, keys=()):
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=3)
        self.page.mouse.up()
        for key in keys:
            self.page.keyboard.up(key)


@pytest.fixture
def shown(notebook):
    opened = notebook([SETUP, "figure"]).run_all()
    return opened, Plot(opened)


def test_hovering_finds_the_nearest_point_without_the_kernel_and_reports_it(shown):
    notebook, plot = shown
    page = notebook.page
    page.evaluate(LISTEN)
    index = notebook.python("int(np.argmax(cloud.x))")
    x, y = notebook.python(f"[float(x[{index}]), float(y[{index}])]")
    across, down = plot.window(x, y)
    page.mouse.move(across - 3, down + 2)
    heard = page.evaluate("window.heard.at(-1)")
    assert (heard["index"], heard["source"], heard["inside"]) == (index, "pointer", True)
    assert plot.place(heard["x"], heard["y"]) == pytest.approx(
        (plot.place(x, y)[0] - 3, plot.place(x, y)[1] + 2), abs=0.6
    )
    notebook.wait_for_python(f"cloud.hovered == {index}")
    assert notebook.python("cloud.pointer") == pytest.approx([heard["x"], heard["y"]])
    page.mouse.move(1, 1)
    assert page.evaluate("window.heard.at(-1).inside") is False
    notebook.wait_for_python("cloud.hovered == -1")
    assert notebook.errors == []


def test_clicks_on_points_and_on_empty_space_reach_python(shown):
    notebook, plot = shown
    notebook.execute(
        "clicks = []; cloud.on_element_click(lambda _, c: clicks.append(c['data']));"
        "cloud.on_background_click(lambda _, c: clicks.append(c['data']))"
    )
    index = notebook.python("int(np.argmax(cloud.x))")
    point = notebook.python(f"[float(x[{index}]), float(y[{index}])]")
    notebook.page.mouse.click(*plot.window(*point))
    notebook.wait_for_python(f"cloud.clicked == {index}")
    (left, _), (_, top) = plot.domain()
    empty = plot.window(left, top)
    notebook.page.mouse.click(*empty)
    notebook.wait_for_python("cloud.clicked == -1 and len(clicks) == 2")
    on_point, on_nothing = notebook.python("clicks")
    assert (on_point["index"], on_nothing["index"]) == (index, -1)
    assert plot.window(on_nothing["x"], on_nothing["y"]) == pytest.approx(empty, abs=1.1)  # clicks have whole pixels
    assert notebook.errors == []


@pytest.mark.parametrize("renderer", ["cpu", "gl"])
def test_points_stay_on_their_scales_while_panning_and_zooming(notebook, renderer):
    cell = f"cloud.renderer = {renderer!r}; cloud.set_points([.25], [1.5]); cloud.size = 21; cloud.opacity = 1\n"
    domain = "cloud.scales['x'].min, cloud.scales['x'].max, cloud.scales['y'].min, cloud.scales['y'].max = -1, 3, 0, 9"
    opened = notebook([SETUP + cell + domain, "figure"]).run_all()
    plot = Plot(opened)
    assert opened.page.locator("[data-renderer]").get_attribute("data-renderer") == renderer
    assert plot.centroid() == pytest.approx(plot.place(0.25, 1.5), abs=0.15)
    start = plot.window(1, 5)
    plot.drag(start, (start[0] + 37, start[1] - 23))
    opened.wait_for_python("cloud.scales['x'].min != -1 and cloud.scales['y'].max != 9")
    assert plot.centroid() == pytest.approx(plot.place(0.25, 1.5), abs=0.15)
    before = plot.domain()
    opened.page.mouse.move(*plot.window(0.3, 1.6))
    opened.page.mouse.wheel(0, -400)
    opened.page.evaluate(SETTLED)
    opened.wait_for_python(f"cloud.scales['x'].max - cloud.scales['x'].min < .8 * {before[0][1] - before[0][0]}")
    assert plot.centroid() == pytest.approx(plot.place(0.25, 1.5), abs=0.15)
    opened.page.set_viewport_size({"width": 900, "height": 1500})
    opened.page.wait_for_function("document.querySelector('.dlw-points-picture').width < 600")
    assert plot.centroid() == pytest.approx(plot.place(0.25, 1.5), abs=0.15)
    assert opened.errors == []


def test_both_renderers_paint_the_same(notebook):
    cell = """
other = PointCloud(x, y, color.astype(np.uint16) + 254, size=6, renderer="gl", hidden=[255], palette=["tomato"] * 256)
same = PointCloud(x, y, color.astype(np.uint16) + 254, size=6, renderer="cpu", hidden=[255], palette=["tomato"] * 256)
cloud.renderer, cloud.selected = "gl", np.arange(0, 2000, 5)
twin = PointCloud(x, y, color, size=6, renderer="cpu", selected=cloud.selected)
ipywidgets.VBox([point_figure(c) for c in (cloud, twin, other, same)])"""
    opened = notebook([SETUP + cell]).run_all()
    for pair in ((0, 1), (2, 3)):
        first, second = (Plot(opened, number, drawn=4).pixels() for number in pair)
        assert first.shape == second.shape
        painted = first[..., 3] > 0
        assert painted.mean() > 0.05
        opacity = np.abs(first[..., 3] - second[..., 3]) / 255
        assert opacity[painted].mean() < 0.03
        premultiplied = [picture[..., :3] * picture[..., 3:] / 255 for picture in (first, second)]
        assert np.abs(premultiplied[0] - premultiplied[1])[painted].mean() < 8  # of 255
    renderers = opened.page.locator("[data-renderer]").evaluate_all("all => all.map(e => e.dataset.renderer)")
    assert renderers == ["gl", "cpu", "gl", "cpu"]
    assert opened.errors == []


def test_shift_and_drag_selects_what_the_lasso_holds_and_pans_nothing(shown):
    notebook, plot = shown
    before = plot.domain()
    corners = [(-1.0, -1.0), (1.0, -1.0), (0.0, 1.5)]
    plot.drag(*(plot.window(*corner) for corner in [*corners, corners[0]]), keys=["Shift"])
    notebook.wait_for_python("len(cloud.selected) > 0")
    assert plot.domain() == before
    assert notebook.python("str(cloud.selected.dtype)") == "int32"
    selected = set(notebook.python("cloud.selected.tolist()"))
    xs, ys = (np.array(notebook.python(f"cloud.{name}.tolist()")) for name in "xy")
    height = np.minimum(1.5 * (1 - np.abs(xs)) + np.abs(xs) * -1, 9)
    margin = np.minimum(ys + 1, height - ys)  # how deep inside the triangle, upwards and downwards
    sure, doubtful = set(np.flatnonzero(margin > 0.03)), set(np.flatnonzero(np.abs(margin) <= 0.03))
    assert sure <= selected <= sure | doubtful
    assert len(doubtful) < 0.1 * len(sure)
    faded = plot.pixels()[..., 3]
    assert np.count_nonzero((faded > 20) & (faded < 80)) > 0.3 * np.count_nonzero(faded)
    notebook.page.keyboard.press("Escape")
    notebook.wait_for_python("len(cloud.selected) == 0")
    assert notebook.errors == []


def test_a_brush_selects_a_rectangle_of_shown_points_only(shown):
    notebook, plot = shown
    notebook.execute("cloud.drag = 'brush'; cloud.hidden = [1]")
    notebook.page.evaluate(SETTLED)
    plot.drag(plot.window(-0.5, -0.6), plot.window(0.9, 0.8))
    notebook.wait_for_python("len(cloud.selected) > 0")
    selected = set(notebook.python("cloud.selected.tolist()"))
    xs, ys = (np.array(notebook.python(f"cloud.{name}.tolist()")) for name in "xy")
    depth = np.minimum.reduce([xs + 0.5, 0.9 - xs, ys + 0.6, 0.8 - ys])
    shown_ones = np.arange(2000) % 3 != 1
    sure = set(np.flatnonzero((depth > 0.02) & shown_ones))
    assert sure <= selected <= set(np.flatnonzero((depth > -0.02) & shown_ones))
    assert "1 colour hidden" in notebook.page.locator("svg.svg-figure desc").text_content()
    assert notebook.errors == []


def test_arrow_keys_move_the_probe_and_not_jupyterlab(shown):
    notebook, plot = shown
    page = notebook.page
    page.evaluate(LISTEN)
    (left, right), (bottom, top) = plot.domain()
    plot.canvas.evaluate("canvas => canvas.closest('svg').focus()")
    cell_before = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    expected = [(left + right) / 2 + (right - left) / 50, (bottom + top) / 2 + (top - bottom) / 50]
    notebook.wait_for_python(f"np.allclose(cloud.pointer, {expected}, atol=1e-4)")
    assert page.evaluate("window.heard.map(event => event.source)") == ["keyboard"] * 4
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == cell_before
    nearest = notebook.python(f"int(np.argmin(np.hypot(x - {expected[0]}, y - {expected[1]})))")
    page.keyboard.press("Enter")
    notebook.wait_for_python("cloud.clicked >= 0")
    assert page.evaluate("window.heard.at(-1).type") == "dlwidgets:click"
    near = "np.hypot(*(np.array([x[{0}], y[{0}]]) - cloud.pointer))"
    clicked = notebook.python("cloud.clicked")
    assert notebook.python(f"float({near.format(clicked)})") <= 1.5 * notebook.python(f"float({near.format(nearest)})")
    svg = page.locator("svg.svg-figure")
    assert svg.evaluate("svg => [svg.getAttribute('role'), svg.tabIndex]") == ["img", 0]
    assert svg.locator("title").first.text_content() == "Codes"
    words = svg.locator("desc").text_content()
    assert "2,000 points in 3 colours" in words
    assert "probe at x " in words
    assert notebook.errors == []


def test_odd_clouds_are_drawn_without_a_word_of_complaint(notebook):
    cell = """
nan = np.nan
odd = [PointCloud([1], [2]), PointCloud([3] * 50, [-1e20] * 50), PointCloud([nan, 1, 2], [0, np.inf, 2]),
       PointCloud([1e30, -1e30], [1e-30, -1e-30]), PointCloud(range(10), range(10), palette=["no colour"]),
       PointCloud(range(10), range(10), range(10), palette=["hsl(120, 50%, 50%)"])]
none = [PointCloud(), PointCloud([nan, nan], [1, nan]), PointCloud([1, 2], [1, 2], [5, 5], hidden=[5])]
for renderer, each in zip("cpu gl".split() * 5, odd + none):
    each.renderer = renderer
ipywidgets.VBox([point_figure(each, height=150) for each in odd + none])"""
    opened = notebook([SETUP + cell], height=2600).run_all()
    page = opened.page
    page.wait_for_function("document.querySelectorAll('[data-renderer]').length === 9")
    page.wait_for_function(DRAWN, arg=6, polling=200)
    blank = [i for i in range(9) if not Plot(opened, i, drawn=6).pixels()[..., 3].any()]
    assert blank == [6, 7, 8]
    words = page.locator("svg.svg-figure desc").all_text_contents()
    assert "2 points not drawn because a coordinate is not finite" in words[2]
    assert words[6] == "No points."
    for i in range(9):
        page.locator(".dlw-points-hover").nth(i).hover(force=True)  # what bqplot pans with lies above
        page.mouse.wheel(0, -50)
    opened.execute("none[0].set_points([0, 1], [0, 1]); none[1].set_points(range(9), range(9)); none[2].hidden = []")
    page.wait_for_function(DRAWN, arg=9, polling=200)
    assert opened.errors == []


def test_twenty_clouds_are_drawn_by_one_context_which_is_lost_with_the_last(notebook):
    cell = """
clouds = [PointCloud(x + i, y, color, renderer="gl") for i in range(20)]
box = ipywidgets.VBox([point_figure(each, height=100, axes=False) for each in clouds])
box"""
    opened = notebook([SETUP + cell], height=2600)
    page = opened.page
    page.evaluate(
        """() => {
            window.contexts = [];
            const original = HTMLCanvasElement.prototype.getContext;
            HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
                const context = original.call(this, kind, ...rest);
                if (kind.startsWith('webgl') && context && !window.contexts.includes(context)) {
                    window.contexts.push(context);
                }
                return context;
            };
        }"""
    )
    opened.run_all()
    page.wait_for_function("document.querySelectorAll('[data-renderer=gl]').length === 20")
    page.wait_for_function(DRAWN, arg=20, polling=200)
    assert page.evaluate("window.contexts.length") == 1
    page.evaluate("window.contexts[0].getExtension('WEBGL_lose_context').loseContext()")
    opened.execute("for each in clouds: each.size = 7")
    page.wait_for_function("window.contexts.length === 2 && !window.contexts[1].isContextLost()")
    page.wait_for_function(DRAWN, arg=20, polling=200)
    opened.execute("box.close()")
    page.wait_for_function("document.querySelectorAll('.dlw-points').length === 0")
    page.wait_for_function("window.contexts.length === 2 && window.contexts.every(context => context.isContextLost())")
    assert opened.errors == []


def test_a_lasso_around_a_hundred_thousand_points_arrives_whole_and_is_not_sent_back(notebook):
    cell = """
cloud.set_points(np.linspace(0, 1, 100_000), np.linspace(0, 1, 100_000))
cloud.drag = "brush"
figure"""
    opened = notebook([SETUP + cell]).run_all()
    plot = Plot(opened)
    opened.page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            window.received = 0;
            kernel.anyMessage.connect((_, {msg, direction}) => {
                window.received += direction === 'recv' ? (msg.buffers ?? []).reduce((n, b) => n + b.byteLength, 0) : 0;
            });
        }"""
    )
    plot.drag(plot.window(0.25, -0.02), plot.window(1.02, 1.02))
    opened.wait_for_python("len(cloud.selected) > 0")
    count, first, last = opened.python("[len(cloud.selected), int(cloud.selected[0]), int(cloud.selected[-1])]")
    assert last == 99_999
    assert count == 100_000 - first
    assert first == pytest.approx(25_000, abs=400)
    assert opened.page.evaluate("window.received") == 0
    assert opened.errors == []


def test_two_views_share_the_selection_but_not_the_hover(notebook):
    opened = notebook([SETUP, "figure", "figure"]).run_all()
    plot = Plot(opened, 0, drawn=2)
    index = opened.python("int(np.argmax(cloud.x))")
    opened.page.mouse.move(*plot.window(*opened.python(f"[float(x[{index}]), float(y[{index}])]")))
    opened.wait_for_python(f"cloud.hovered == {index}")
    opened.execute("cloud.selected = np.arange(1000)")
    faded = """(n) => {
        const canvas = document.querySelectorAll('.dlw-points-picture')[n];
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((byte, i) => i % 4 === 3 && byte > 20 && byte < 60).length > 500;
    }"""
    for number in (0, 1):
        opened.page.wait_for_function(faded, arg=number, polling=200)
    assert opened.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_saved_figure_holds_the_points(notebook, dark):
    opened = notebook([SETUP, "figure"], dark=dark).run_all()
    plot = Plot(opened)
    opened.execute("saved = []; figure.get_png_data(lambda data: saved.append(bytes(data)), scale=1)")
    opened.wait_for_python("len(saved) == 1")
    image = rgba(opened.python("__import__('base64').b64encode(saved[0]).decode()"))[..., :3]
    box = plot.canvas.bounding_box()
    figure = opened.page.locator(".bqplot.figure").bounding_box()
    top, left = round(box["y"] - figure["y"]), round(box["x"] - figure["x"])
    picture = plot.pixels()
    height, width = picture.shape[:2]
    part = image[top : top + height, left : left + width]
    alpha = picture[..., 3:] / 255
    background = np.median(part[picture[..., 3] == 0], axis=0)
    assert bool(background.max() < 60) is dark
    expected = picture[..., :3] * alpha + background * (1 - alpha)
    solid = picture[..., 3] > 200
    assert solid.sum() > 1000
    assert np.abs(part - expected)[solid].mean() < 12
    numbers = image[top : top + height, :left], image[top + height :, left : left + width]
    assert all((np.abs(margin - background) > 60).any(axis=2).sum() > 50 for margin in numbers)  # of both axes


def test_an_exported_page_goes_on_hovering_and_selecting_without_a_kernel(chromium, tmp_path):
    rng = np.random.default_rng(0)
    cloud = PointCloud(*rng.normal(size=(2, 500)), np.arange(500) % 4)
    page_file = export_page(point_figure(cloud), tmp_path / "page.html")
    context = chromium.new_context(offline=True, viewport={"width": 900, "height": 700})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_file.as_uri())
    page.wait_for_function(DRAWN, arg=1, polling=200)
    page.evaluate(LISTEN)
    box = page.locator(".dlw-points-hover").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    heard = page.evaluate("window.heard.at(-1)")
    assert heard["inside"]
    centre = [(values.min() + values.max()) / 2 for values in (cloud.x, cloud.y)]
    assert [heard["x"], heard["y"]] == pytest.approx(centre, abs=0.05)
    page.keyboard.down("Shift")
    page.mouse.down()
    for dx, dy in ((80, 0), (80, 80), (0, 80)):
        page.mouse.move(middle[0] + dx, middle[1] + dy)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_function("document.querySelector('svg.svg-figure desc').textContent.includes('selected')")
    assert errors == []
    context.close()
