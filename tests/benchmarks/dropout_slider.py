"""What a step of DropoutSimulator's sliders costs, from the key press to the painted frame, beside a trivial slider's.

All sliders live in one page and the steps are interleaved, so the ratios compare like with like. The goal: the 95th
percentile of every slider is at most 1.5 times the trivial one's.
"""

import random
import statistics
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import sync_playwright

NUM_STEPS, NUM_WARM_UP = 60, 5
CELL = """
import ipywidgets
from dlwidgets.widgets.dropout_in_a_row import InARow
from dlwidgets.widgets.dropout_masks import Masks
from dlwidgets.widgets.dropout_order import BeforeOrAfter
from dlwidgets.widgets.dropout_scaling import Scaling

slider, label = ipywidgets.IntSlider(0, 0, 1000), ipywidgets.Label("0")
slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
trivial = ipywidgets.VBox([slider, label])
trivial.add_class("bench")
sections = [Masks(), InARow(), BeforeOrAfter(), Scaling()]
for section in sections:
    section.wait()
    section.add_class("bench")
ipywidgets.VBox([trivial, *sections])
"""
SLIDERS = {
    "trivial": (0, 0),
    "masks, p": (1, 0),
    "masks, step": (1, 1),
    "two in a row, p1": (2, 0),
    "before or after, p": (3, 0),
    "scaling, p": (4, 0),
}
"""Which box of the page, and which of its handles."""

FRAMES = """() => {
    const request = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = callback => request(time => {
        window.inFrame = true;
        try { callback(time) } finally { queueMicrotask(() => { window.inFrame = false }) }
    });
    window.afterPaint = callback => window.inFrame ? setTimeout(callback) : request(() => setTimeout(callback));
}"""
"""What changes while a frame is being made (d3 draws there) is in that frame, anything else in the next one."""

WATCH = """() => {
    window.painted = {}, window.pressed = {}, window.last = {};
    document.querySelectorAll('.bench').forEach((box, index) => {
        const note = () => window.afterPaint(() => { window.painted[window.last[index]] = performance.now() });
        const observer = new MutationObserver(note);
        const watched = index === 0 ? '.widget-label:last-child' : '.dlw-dropout-words, svg';
        for (const part of box.querySelectorAll(watched)) {
            observer.observe(part, {childList: true, characterData: true, attributes: true, subtree: true});
        }
    });
}"""
"""A step lasts until the last of the marks and words of its box has changed and was painted."""

PRESS = """([name, box]) => {
    window.last[box] = name;
    delete window.painted[name];
    addEventListener('keydown', () => { window.pressed[name] = performance.now(); }, {capture: true, once: true});
}"""


def main() -> None:
    """Print each slider's median and 95th percentile, and the latter's ratio to the trivial slider's."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        notebook = Notebook(lab, browser, [CELL], name="dropout", height=2600)
        page = notebook.page
        page.evaluate(FRAMES)
        notebook.run_all()
        page.locator(".bench").nth(4).locator(".bqplot").last.wait_for()
        page.evaluate(WATCH)
        order = random.Random(0)
        times: dict[str, list[float]] = {name: [] for name in SLIDERS}
        for step in range(NUM_STEPS + NUM_WARM_UP):
            for name, (box, handle) in order.sample(list(SLIDERS.items()), len(SLIDERS)):
                page.locator(".bench").nth(box).locator(".noUi-handle").nth(handle).focus()
                page.evaluate(PRESS, [name, box])
                page.keyboard.press("ArrowRight" if step % 40 < 20 else "ArrowLeft")
                page.wait_for_function(f"window.painted['{name}'] !== undefined")
            if step >= NUM_WARM_UP:  # read after the round: a step's last marks may be painted after its first
                for name, values in times.items():
                    values.append(page.evaluate(f"window.painted['{name}'] - window.pressed['{name}']"))
        notebook.close()
        browser.close()
        lab.stop()
    base = statistics.quantiles(times["trivial"], n=20)[-1]
    for name, values in times.items():
        high = statistics.quantiles(values, n=20)[-1]
        print(
            f"{name:>20}: median {statistics.median(values):6.1f} ms, p95 {high:6.1f} ms, {high / base:.2f} x trivial"
        )


if __name__ == "__main__":
    main()
