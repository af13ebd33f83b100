"""What decoding under the pointer costs, in one page and interleaved.

From a pointer move to the frame that shows the new picture, without the kernel, beside the frame of an empty handler
(goal: at most 1.2 times its 95th percentile), and from a pointer move to the exact picture beside a trivial kernel
round trip (goal: at most 1.3 times).
"""

import random
import statistics
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import sync_playwright

NUM_STEPS = 100
CELL = """
import ipywidgets, torch
from sklearn.datasets import load_digits
from dlwidgets.compute.latent_space import train_vae
from dlwidgets.widgets.latent_space import LatentSpaceExplorer

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
vae = train_vae(images, digits.target, epochs=5)
explorer = LatentSpaceExplorer(vae.autoencoder, images, digits.target)
slider, label = ipywidgets.IntSlider(0, 0, 10000), ipywidgets.Label("0")
slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
label.add_class("trivial-answer")
explorer.wait()
ipywidgets.VBox([slider, label, explorer])
"""
FRAME = """(selector) => new Promise((done) => {
    const svg = document.querySelector(selector).closest('svg');
    const box = document.querySelector('canvas.dlw-points-hover').getBoundingClientRect();
    const start = performance.now();
    svg.dispatchEvent(new PointerEvent('EVENT', {
        bubbles: true, clientX: box.left + box.width * (.2 + .6 * Math.random()),
        clientY: box.top + box.height * (.2 + .6 * Math.random())}));
    requestAnimationFrame(() => { const channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now() - start); channel.port2.postMessage(0); });
})"""
EXACT = """() => new Promise((done) => {
    const decoded = document.querySelector('.dlw-decoded');
    const svg = document.querySelector('canvas.dlw-points-hover').closest('svg');
    const box = document.querySelector('canvas.dlw-points-hover').getBoundingClientRect();
    const start = performance.now();
    svg.dispatchEvent(new PointerEvent('pointermove', {
        bubbles: true, clientX: box.left + box.width * (.2 + .6 * Math.random()),
        clientY: box.top + box.height * (.2 + .6 * Math.random())}));
    const observer = new MutationObserver(() => {
        if (decoded.dataset.source === 'exact') { observer.disconnect(); done(performance.now() - start); }
    });
    observer.observe(decoded, {attributes: true, attributeFilter: ['data-source']});
})"""
TRIVIAL = """() => {
    const label = document.querySelector('.trivial-answer');
    window.answered = new Promise((done) => {
        const observer = new MutationObserver(() => {
            observer.disconnect();
            done(performance.now() - window.pressed);
        });
        observer.observe(label, {childList: true, characterData: true, subtree: true});
    });
    document.addEventListener('keydown', () => { window.pressed = performance.now(); }, {capture: true, once: true});
}"""


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Print medians, 95th percentiles and ratios."""
    times: dict[str, list[float]] = {"empty handler": [], "interpolated": [], "trivial round trip": [], "exact": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        notebook = Notebook(lab, browser, [CELL], name="latent")
        notebook.run_all()
        page = notebook.page
        page.locator("canvas.dlw-points-hover").wait_for()
        page.evaluate(FRAME.replace("EVENT", "pointermove"), "canvas.dlw-points-hover")
        handle = page.locator(".jp-OutputArea .noUi-handle").first
        order = random.Random(0)
        for step in range(NUM_STEPS + 5):
            for name in order.sample(list(times), len(times)):
                notebook.wait_for_python("not explorer._busy")
                if name == "trivial round trip":
                    page.evaluate(TRIVIAL)
                    handle.focus()
                    page.keyboard.press("ArrowRight")
                    value = page.evaluate("window.answered")
                elif name == "exact":
                    value = page.evaluate(EXACT)
                else:
                    event = "pointermove" if name == "interpolated" else "dlw-nothing"
                    value = page.evaluate(FRAME.replace("EVENT", event), "canvas.dlw-points-hover")
                if step >= 5:
                    times[name].append(value)
        handlers = page.evaluate("performance.getEntriesByName('dlwidgets:decode').map((entry) => entry.duration)")
        notebook.close()
        browser.close()
        lab.stop()
    for name, values in times.items():
        print(f"{name:>18}: median {statistics.median(values):6.1f} ms, p95 {percentile(values, 0.95):6.1f} ms")
    print(
        f"{'decoding alone':>18}: median {statistics.median(handlers):6.2f} ms, p95 {percentile(handlers, 0.95):.2f} ms"
    )
    for ours, base in (("interpolated", "empty handler"), ("exact", "trivial round trip")):
        middle = statistics.median(times[ours]) / statistics.median(times[base])
        print(
            f"{ours} / {base}: {middle:.2f} (p95 {percentile(times[ours], 0.95) / percentile(times[base], 0.95):.2f})"
        )


if __name__ == "__main__":
    main()
