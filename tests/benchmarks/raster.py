"""What a slider step costs from the key press to the painted frame: a Raster of several sizes beside a trivial label.

Every slider lives in one page and the steps are interleaved, so the ratios compare like with like; each begins once the
page has come to rest. The goals: 64 x 64 at the cost of the trivial step, 512 x 512 under 1.6 times that.
"""

import random
import statistics
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import sync_playwright

SIZES = (64, 256, 512)
NUM_STEPS = 60
CELL = """
import bqplot, ipywidgets, numpy
from dlwidgets.marks.raster import Raster, raster_figure

def trivial():
    slider, label = ipywidgets.IntSlider(0, 0, 1000), ipywidgets.Label("0")
    label.add_class("trivial-answer")
    slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
    return ipywidgets.VBox([slider, label])

def picture(size):
    frames = numpy.random.default_rng(0).random((8, size, size), dtype=numpy.float32)
    slider, raster = ipywidgets.IntSlider(0, 0, 1000), Raster(image=frames[0])
    slider.observe(lambda change: setattr(raster, "image", frames[change["new"] % 8]), "value")
    return ipywidgets.VBox([slider, raster_figure(raster, height=300)])

ipywidgets.VBox([trivial(), *map(picture, SIZES)])
"""
# A step is over when its own answer is in a painted frame: the text of the trivial label, or a drawing on the visible
# canvas of its own picture (not the one of what is hovered, nor another picture's).
WATCH = """() => {
    const note = name => {
        window.touched = performance.now();
        requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = () => { if (name === window.awaited) window.painted ??= performance.now(); };
            port2.postMessage(null);
        });
    };
    const pictures = [...document.querySelectorAll('canvas.dlw-raster-picture')];
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    CanvasRenderingContext2D.prototype.drawImage = function (...args) {
        const index = pictures.indexOf(this.canvas);
        index < 0 || note(index + 1);
        return draw.apply(this, args);
    };
    const label = document.querySelector('.jp-OutputArea .trivial-answer');
    new MutationObserver(() => note(0)).observe(label, {childList: true, characterData: true, subtree: true});
    document.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
}"""

# Nothing is left of the step before: for some time the page has not changed and no picture was drawn.
SETTLED = """() => new Promise((done) => {
    window.touched = performance.now();
    const observer = new MutationObserver(() => { window.touched = performance.now(); });
    observer.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
    const look = () => {
        const quiet = performance.now() - window.touched > 120;
        quiet ? (observer.disconnect(), done()) : requestAnimationFrame(look);
    };
    look();
})"""


def main() -> None:
    """Print the medians and their ratios to the trivial step."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        notebook = Notebook(lab, browser, [CELL.replace("SIZES", str(SIZES))], name="raster")
        notebook.run_all()
        page = notebook.page
        page.locator("canvas.dlw-raster-picture").nth(len(SIZES) - 1).wait_for()
        page.evaluate(WATCH)
        handles = page.locator(".jp-OutputArea .noUi-handle")
        order = random.Random(0)
        times: dict[int, list[float]] = {size: [] for size in (0, *SIZES)}
        for step in range(NUM_STEPS + 5):
            for index, size in order.sample(list(enumerate(times)), len(times)):
                handles.nth(index).focus()
                page.evaluate(SETTLED)
                page.evaluate("(index) => { window.awaited = index; window.painted = undefined }", index)
                page.keyboard.press("ArrowRight")
                page.wait_for_function("window.painted !== undefined")
                if step >= 5:
                    times[size].append(page.evaluate("window.painted - window.pressed"))
        notebook.close()
        browser.close()
        lab.stop()
    base = statistics.median(times[0])
    for size, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        name = f"{size} x {size}" if size else "trivial"
        print(f"{name:>10}: {middle:6.1f} ms (quartiles {low:.1f} to {high:.1f}), {middle / base:.2f} x trivial")


if __name__ == "__main__":
    main()
