"""What decoding under the pointer costs, with real moves of the mouse, interleaved in one page.

From a pointer move to the painted frame that shows the new picture, beside the frame of an empty handler (goal: at most
1.2 times its 95th percentile), in a notebook and in an exported page without a kernel; and from a pointer move to the
exact picture beside a trivial kernel round trip (goal: at most 1.3 times), with the messages that a move costs.

There are two trivial trips. One is started by the same kind of move, over a cloud of two points whose pointer a label
answers: only this one has the same input and the same frame to paint, so it says what decoding adds. The other is
started by a key on a stock slider, without a pointer and without our mark: it is the yardstick from outside.
The time runs from the event's handler in the page to the change in the page (the exact picture is on its canvas, the
text in its label) and includes no waiting for the pointer to rest: one move, one answer. The frame that shows either
follows alike and is not in it.
"""

import random
import statistics
import tempfile
from pathlib import Path

import chromium
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import Locator, Page, sync_playwright

NUM_STEPS = 80
CELL = """
import ipywidgets, torch
from sklearn.datasets import load_digits
from dlwidgets.compute.latent_space import train_vae
from dlwidgets.marks.point_cloud import PointCloud, point_figure
from dlwidgets.widgets.latent_space import LatentSpaceExplorer

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
vae = train_vae(images, digits.target, epochs=5)
explorer = LatentSpaceExplorer(vae.autoencoder, images, digits.target)
slider, label = ipywidgets.IntSlider(0, 0, 10000), ipywidgets.Label("0")
slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
cloud = PointCloud([0, 1], [0, 1])
cloud.observe(lambda change: setattr(label, "value", str(change["new"])), "pointer")
label.add_class("trivial-answer")
explorer.wait()
ipywidgets.VBox([explorer, slider, label, point_figure(cloud)])
"""
WATCH = """(parent) => {
    const empty = document.createElement('div');
    empty.className = 'nothing-here';
    empty.style = 'width: 320px; height: 320px';
    empty.addEventListener('pointermove', () => undefined);
    document.querySelector(parent).append(empty);
    document.addEventListener('pointermove', event => {
        window.began = performance.now();
        requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = () => { window.painted ??= performance.now() - event.timeStamp; };
            port2.postMessage(null);
        });
    }, true);
    document.addEventListener('keydown', () => { window.began = performance.now(); }, true);
    const decoded = document.querySelector('.dlw-decoded');
    new MutationObserver(() => {
        if (decoded.dataset.source === 'exact') { window.exact ??= performance.now() - window.began; }
    }).observe(decoded, {attributes: true, attributeFilter: ['data-source']});
    const label = document.querySelector('.trivial-answer');
    if (label !== null) {
        const {kernel} = window.jupyterapp.shell.currentWidget.context.sessionContext.session;
        kernel.anyMessage.connect((_, {msg, direction}) => {
            if (msg.header.msg_type === 'comm_msg') { window.messages[direction]++; }
        });
        new MutationObserver(() => { window.answered ??= performance.now() - window.began; })
            .observe(label, {childList: true, characterData: true, subtree: true});
    }
}"""
FORGET = """() => {
    window.painted = window.exact = window.answered = undefined;
    window.messages = {send: 0, recv: 0};
}"""

# Until nothing is left of the step before: the page has not changed for some time.
SETTLED = """() => new Promise((done) => {
    let last = performance.now();
    const observer = new MutationObserver(() => { last = performance.now(); });
    observer.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
    const look = () => {
        if (performance.now() - last > 120) { observer.disconnect(); done(); } else { requestAnimationFrame(look); }
    };
    look();
})"""


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def compare(ours: tuple[str, list[float]], base: tuple[str, list[float]], goal: float) -> None:
    """Print medians, 95th percentiles and their ratios."""
    for name, values in (base, ours):
        print(f"{name:>36}: median {statistics.median(values):5.1f} ms, p95 {percentile(values, 0.95):5.1f} ms")
    middle = statistics.median(ours[1]) / statistics.median(base[1])
    worst = percentile(ours[1], 0.95) / percentile(base[1], 0.95)
    print(f"{'ratio':>36}: median {middle:.2f}, p95 {worst:.2f} (goal {goal})", flush=True)


def move(page: Page, place: Locator, order: random.Random) -> None:
    """Move the mouse somewhere on a part of the page, and wait for the frame."""
    box = place.bounding_box()
    assert box is not None
    page.evaluate(FORGET)
    across, down = order.uniform(0.2, 0.8), order.uniform(0.2, 0.8)
    page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    page.wait_for_function("window.painted !== undefined")


def frames(page: Page, notebook: Notebook | None) -> None:
    """From a move to the painted frame: over the plane and over an empty handler."""
    order = random.Random(0)
    page.locator("canvas.dlw-points-hover").first.wait_for()
    page.wait_for_function("document.querySelector('canvas.dlw-points-hover').getBoundingClientRect().width > 100")
    page.evaluate(WATCH, ".jp-OutputArea" if notebook else "body")
    places = {
        "interpolated": page.locator("canvas.dlw-points-hover").first,
        "empty handler": page.locator(".nothing-here"),
    }
    times: dict[str, list[float]] = {name: [] for name in places}
    for step in range(NUM_STEPS + 5):
        for name in order.sample(list(places), 2):
            page.evaluate(SETTLED)
            move(page, places[name], order)
            if step >= 5:
                times[name].append(page.evaluate("window.painted"))
    where = "notebook" if notebook else "no kernel"
    compare((f"interpolated, {where}", times["interpolated"]), (f"empty handler, {where}", times["empty handler"]), 1.2)
    measures = page.evaluate("performance.getEntriesByName('dlwidgets:decode').map((entry) => entry.duration)")
    print(
        f"{'decoding alone':>36}: median {statistics.median(measures):5.2f} ms, p95 {percentile(measures, 0.95):.2f} ms"
    )


def round_trips(page: Page) -> None:
    """From a move to the exact picture, and to the answer of a trivial handler."""
    order = random.Random(1)
    planes, handle = page.locator("canvas.dlw-points-hover"), page.locator(".jp-OutputArea .noUi-handle").last
    times: dict[str, list[float]] = {"exact": [], "trivial, by a move": [], "trivial, by a key": []}
    messages: dict[str, list[tuple[int, int]]] = {name: [] for name in times}
    for step in range(NUM_STEPS + 5):
        for name in order.sample(list(times), 3):
            answer = "window.exact" if name == "exact" else "window.answered"
            page.evaluate(SETTLED)
            if name == "trivial, by a key":
                handle.focus()
                page.evaluate(FORGET)
                page.keyboard.press("ArrowRight")
            else:
                move(page, planes.nth(0 if name == "exact" else 1), order)
            page.wait_for_function(f"{answer} !== undefined")
            if step >= 5:
                times[name].append(page.evaluate(answer))
                page.evaluate(SETTLED)
                messages[name].append(tuple(page.evaluate("[window.messages.send, window.messages.recv]")))
    for name in ("trivial, by a move", "trivial, by a key"):
        compare(("exact", times["exact"]), (name, times[name]), 1.3)
    for name, pairs in messages.items():
        counts = ", ".join(f"{to} + {back} ({pairs.count((to, back))} times)" for to, back in sorted(set(pairs)))
        print(f"{name + ', messages to + back':>36}: {counts}")


def main() -> None:
    """Print medians, 95th percentiles and ratios."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        notebook = Notebook(lab, browser, [CELL], name="latent")
        notebook.run_all()
        path = Path(folder) / "explorer.html"
        notebook.execute(f"explorer.export({str(path)!r})")
        frames(notebook.page, notebook)
        round_trips(notebook.page)
        notebook.close()
        lab.stop()
        page = browser.new_page(viewport={"width": 1400, "height": 2000})
        page.goto(path.as_uri())
        frames(page, None)
        browser.close()


if __name__ == "__main__":
    main()
