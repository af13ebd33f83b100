"""What a cloud of points costs, and how that compares with jupyter-scatter in the same page.

Prints, for 10 thousand, 100 thousand and 1 million points: bytes sent a point, time to the first paint, CPU time of a
panning redraw (page and graphics process) and the time from closing a lasso to the selection in Python. The peer is
measured where `PEERS_SCATTER_PYTHON` names a Python with JupyterLab, jupyter-scatter and this package.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import Browser, Locator, sync_playwright

ROUNDS = 3
STEPS = 4

SETUP = """
import time, numpy as np
n = {num_points}
rng = np.random.default_rng(0)
label = rng.integers(0, 10, n)
x = (rng.normal(size=n) + 4 * np.cos(label * .63)).astype(np.float32)
y = (rng.normal(size=n) + 4 * np.sin(label * .63)).astype(np.float32)
selected_at, count = {{}}, {{}}
def note(name, indices):
    if indices is not None and len(indices):
        selected_at[name], count[name] = time.time(), len(indices)
"""
OURS = """
from dlwidgets.marks.point_cloud import PointCloud, point_figure
cloud = PointCloud(x, y, label, size=3)
cloud.observe(lambda change: note("ours", change["new"]), "selected")
point_figure(cloud, axes=False, height=320)
"""
PEER = """
import jscatter, pandas
scatter = jscatter.Scatter(data=pandas.DataFrame({"x": x, "y": y, "label": pandas.Categorical(label)}),
                           x="x", y="y", color_by="label", size=3, height=320)
scatter.widget.observe(lambda change: note("peer", change["new"]), "selection")
scatter.show()
"""

COUNT_BYTES = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
    window.received = 0;
    kernel.anyMessage.connect((_, {msg, direction}) => {
        window.received += direction === 'recv' ? (msg.buffers ?? []).reduce((sum, b) => sum + b.byteLength, 0) : 0;
    });
}"""

# Runs one cell and resolves with the milliseconds until a canvas in its output shows more than three colours.
PAINT = """(index) => new Promise((done) => {
    const {content} = window.jupyterapp.shell.currentWidget;
    const probe = Object.assign(document.createElement('canvas'), {width: 64, height: 64}).getContext('2d');
    content.activeCellIndex = index;
    content.deselectAll();
    const start = performance.now();
    void window.jupyterapp.commands.execute('notebook:run-cell');
    const look = () => {
        for (const canvas of content.widgets[index].node.querySelectorAll('canvas')) {
            if (canvas.width > 100 && canvas.height > 100) {
                probe.clearRect(0, 0, 64, 64);
                probe.drawImage(canvas, 0, 0, 64, 64);
                const pixels = new Uint32Array(probe.getImageData(0, 0, 64, 64).data.buffer);
                if (new Set(pixels).size > 3) {
                    done(performance.now() - start);
                    return;
                }
            }
        }
        requestAnimationFrame(look);
    };
    look();
})"""

SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Measured:
    """One picture in a notebook and what its use costs."""

    def __init__(self, notebook: Notebook, browser: Browser, name: str, cell: int):
        self.notebook, self.page, self.name = notebook, notebook.page, name
        self.processes = browser.new_browser_cdp_session()
        self.page.evaluate(COUNT_BYTES)
        self.paint_ms = self.page.evaluate(PAINT, cell)
        self.num_bytes = self.page.evaluate("window.received")
        self.page.evaluate(SETTLED)
        canvases = self.page.locator(".jp-CodeCell").nth(cell).locator("canvas")
        sizes = [(box["width"] * box["height"] if (box := each.bounding_box()) else 0) for each in canvases.all()]
        self.canvas: Locator = canvases.nth(sizes.index(max(sizes)))

    def cpu_ms(self) -> tuple[float, float]:
        """CPU time so far, of all pages and of the graphics process."""
        used = self.processes.send("SystemInfo.getProcessInfo")["processInfo"]
        kinds = [sum(1000 * each["cpuTime"] for each in used if each["type"] == kind) for kind in ("renderer", "GPU")]
        return kinds[0], kinds[1]

    def at(self, across: float, down: float) -> tuple[float, float]:
        """A place on the picture, in shares of its size."""
        box = self.canvas.bounding_box()
        assert box is not None
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def pan(self, direction: int) -> tuple[float, float]:
        """CPU milliseconds of one redraw while the picture is dragged."""
        self.canvas.scroll_into_view_if_needed()
        self.page.mouse.move(*self.at(0.5, 0.5))
        self.page.mouse.down()
        self.page.evaluate(SETTLED)
        before = self.cpu_ms()
        for step in range(1, STEPS + 1):
            self.page.mouse.move(*self.at(0.5 + 0.01 * direction * step, 0.5))
            self.page.evaluate(SETTLED)
        after = self.cpu_ms()
        self.page.mouse.up()
        self.page.evaluate(SETTLED)
        return (after[0] - before[0]) / STEPS, (after[1] - before[1]) / STEPS

    def lasso(self, number: int) -> float:
        """Milliseconds from releasing the button to the selection in Python; every number draws another outline."""
        self.canvas.scroll_into_view_if_needed()
        mode = "cloud.drag = {!r}" if self.name == "ours" else "scatter.mouse({!r})"
        self.notebook.execute("selected_at.clear(); " + mode.format("lasso"))
        self.page.evaluate(SETTLED)
        self.page.mouse.move(*self.at(0.3, 0.3))
        self.page.mouse.down()
        for corner in ((0.6 + 0.02 * number, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.32)):
            self.page.mouse.move(*self.at(*corner), steps=4)
            self.page.evaluate(SETTLED)
        released = self.page.evaluate("Date.now()")
        self.page.mouse.up()
        self.notebook.wait_for_python(f"{self.name!r} in selected_at")
        return 1000 * self.notebook.python(f"selected_at[{self.name!r}]") - released


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.0f} ms ({min(values):.0f} to {max(values):.0f})"


def compare(lab: Lab, browser: Browser, num_points: int, with_peer: bool) -> None:
    """Measure one size: all pictures in one page, their rounds interleaved."""
    cells = [SETUP.format(num_points=num_points), OURS, *([PEER] if with_peer else [])]
    notebook = Notebook(lab, browser, cells, name=f"points-{num_points}", height=1600)
    notebook.execute(cells[0])
    names = ["ours", "peer"] if with_peer else ["ours"]
    measured = [Measured(notebook, browser, name, cell) for cell, name in enumerate(names, 1)]
    pans: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    lassos: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS):
        for each in measured:
            pans[each.name].append(each.pan(1 if number % 2 else -1))
    for number in range(ROUNDS):
        for each in measured:
            lassos[each.name].append(each.lasso(number))
    print(f"\n{num_points:,} points")
    for each in measured:
        page, graphics = zip(*pans[each.name], strict=True)
        name = "PointCloud" if each.name == "ours" else "jupyter-scatter"
        print(
            f"  {name:>15}: {each.num_bytes / num_points:.1f} bytes a point, first paint {each.paint_ms:.0f} ms, "
            f"pan redraw CPU: page {spread(list(page))} + graphics {spread(list(graphics))}, "
            f"lasso {spread(lassos[each.name])}"
        )
    if with_peer:
        totals = {name: [sum(pair) for pair in pans[name]] for name in names}
        redraw = [ours / peer for ours, peer in zip(totals["ours"], totals["peer"], strict=True)]
        lasso = [ours / peer for ours, peer in zip(lassos["ours"], lassos["peer"], strict=True)]
        print(
            f"  ours / theirs: first paint {measured[0].paint_ms / measured[1].paint_ms:.2f}, "
            f"pan redraw CPU {statistics.median(redraw):.2f} ({min(redraw):.2f} to {max(redraw):.2f}; goal 0.50), "
            f"lasso {statistics.median(lasso):.2f} ({min(lasso):.2f} to {max(lasso):.2f}; goal 1.00)",
            flush=True,
        )
    notebook.close()


def main() -> None:
    """Print the costs, and the ratios where the peer is there."""
    peer = os.environ.get("PEERS_SCATTER_PYTHON")
    if peer is None:
        print("jupyter-scatter is not measured: PEERS_SCATTER_PYTHON names no Python that has it")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        lab = Lab(Path(folder), python=peer or sys.executable)
        try:
            for num_points in (10_000, 100_000, 1_000_000):
                compare(lab, browser, num_points, with_peer=peer is not None)
        finally:
            lab.stop()
            browser.close()


if __name__ == "__main__":
    main()
