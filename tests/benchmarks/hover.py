"""What hovering costs: the handler's own work, and pointer move to painted frame beside an empty handler.

One page of JupyterLab holds the viewer on a 1024 x 1024 input and an empty box; the pointer visits both in turn. The
goals: 95 % of the handler's runs within 2 ms, and a painted frame within 1.2 times that of the empty handler.
"""

import random
import statistics
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import Locator, sync_playwright

NUM_MOVES = 150
CELL = """
import ipywidgets
from torch import nn
from dlwidgets import ReceptiveFieldViewer

model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5, stride=2, padding=2), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 7, dilation=2, padding=3),
)
viewer = ReceptiveFieldViewer(model, (1, 3, 1024, 1024))
viewer.wait()
empty = ipywidgets.Box(layout=ipywidgets.Layout(width="320px", height="320px", border="1px solid"))
empty.add_class("nothing-here")
ipywidgets.VBox([viewer, empty])
"""
WATCH = """() => {
    document.querySelector('.nothing-here').addEventListener('pointermove', () => undefined);
    window.frames = [];
    document.addEventListener('pointermove', event => {
        requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = () => window.frames.push(performance.now() - event.timeStamp);
            port2.postMessage(null);
        });
    }, true);
    performance.clearMeasures('dlwidgets:hover');
}"""


def quantiles(values: list[float]) -> str:
    """The median and the 95th percentile in words."""
    return f"median {statistics.median(values):.2f} ms, p95 {statistics.quantiles(values, n=20)[-1]:.2f} ms"


def main() -> None:
    """Print the handler's times and the ratio of the frames."""
    order = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        notebook = Notebook(lab, browser, [CELL], name="hover")
        notebook.run_all()
        page = notebook.page
        pictures = page.locator("canvas.dlw-raster-hover")
        pictures.nth(1).wait_for()
        places: dict[str, Locator] = {
            "unit": pictures.nth(0),
            "pixel": pictures.nth(1),
            "empty handler": page.locator(".nothing-here"),
        }
        frames: dict[str, list[float]] = {name: [] for name in places}
        handlers: dict[str, list[float]] = {name: [] for name in places}
        page.evaluate(WATCH)
        boxes = {name: place.bounding_box() for name, place in places.items()}
        for _ in range(NUM_MOVES):
            for name, box in order.sample(list(boxes.items()), len(boxes)):
                assert box is not None
                page.evaluate("() => { window.frames = []; performance.clearMeasures('dlwidgets:hover') }")
                across, down = order.uniform(0.2, 0.8), order.uniform(0.2, 0.8)
                page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
                page.wait_for_function("window.frames.length > 0")
                frames[name].append(page.evaluate("window.frames[0]"))
                measures = "performance.getEntriesByName('dlwidgets:hover').map(entry => entry.duration)"
                handlers[name] += page.evaluate(measures)
        notebook.close()
        browser.close()
        lab.stop()
    base = statistics.quantiles(frames["empty handler"], n=20)[-1]
    middle = statistics.median(frames["empty handler"])
    for name, values in frames.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(
            f"move to painted frame, {name:>13}: {quantiles(values)}; {statistics.median(values) / middle:.2f} x and ",
            end="",
        )
        print(f"{p95 / base:.2f} x the empty handler's median and p95")
    for name in ("unit", "pixel"):
        print(f"the handler's own work, {name:>12}: {quantiles(handlers[name])}")


if __name__ == "__main__":
    main()
