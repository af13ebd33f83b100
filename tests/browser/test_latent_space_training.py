"""LatentSpaceExplorer.train in a real JupyterLab: panels train side by side, stop, and share pointer and legend."""

import re

from latent_plane import SETUP, Plane


def test_panels_share_the_pointer_and_stop_ends_a_training(notebook):
    opened = notebook(
        [
            SETUP,
            "images = decode(2 * torch.rand(60, 2) - 1).float()\n"
            "panels = LatentSpaceExplorer.train(images, beta=(0, 1), epochs=20000); panels",
        ]
    )
    opened.run_all()
    page = opened.page
    for panel in range(2):
        stop = page.locator(".dlw-latent-panel").nth(panel).get_by_role("button", name="Stop")
        stop.wait_for()
        stop.dispatch_event("click")
        opened.wait_for_python(f"not panels.explorers[{panel}]._busy")
    assert opened.python("[each.training for each in panels.explorers]") == [None, None]
    second = Plane(page, 1)
    second.page.mouse.move(*second.point(0.5, 0.5))
    page.wait_for_function(
        """() => {
            const [first, second] = [...document.querySelectorAll('.dlw-tile-here figcaption')];
            const place = (element) => element.textContent.split(':')[0];
            return place(first).startsWith('z1') && place(first) === place(second);
        }"""
    )
    assert opened.errors == []


# The pixels painted in the colour of the first class, and the bars with a height, of every panel.
BLUE = """() => [...document.querySelectorAll('canvas.dlw-points-picture')].map((canvas) => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        count += data[i + 3] > 60 && data[i] < 40 && data[i + 2] > 140;
    }
    return count;
})"""
# Whether the bars of every panel are as high as these shares of the highest one.
BARS = """(shares) => [...document.querySelectorAll('.dlw-latent-prior')].every((prior, panel) => {
    const heights = [...prior.querySelectorAll('rect.bar')].map((bar) => bar.getBoundingClientRect().height);
    const highest = Math.max(...heights);
    return highest > 40 && heights.length === 3 && heights.every((height, i) =>
        Math.abs(height / highest - shares[panel][i]) < 0.03);
})"""


def test_three_panels_train_and_share_a_legend(notebook):
    cell = (
        "images = torch.rand(90, 4, 4, generator=torch.Generator().manual_seed(0))\n"
        "images[::3] *= 0.1\n"
        "panels = LatentSpaceExplorer.train(images, ['dark', 'grey', 'light'] * 30, beta=(0, 1, 4), epochs=20000)\n"
        "panels"
    )
    opened = notebook([SETUP, cell])
    opened.run_all()
    page = opened.page
    for panel in range(3):
        within = page.locator(".dlw-latent-panel").nth(panel)
        within.locator(".dlw-progress").get_by_text(re.compile(r"epoch [1-9]\d* of 20000: ELBO")).wait_for()
        before = within.get_by_role("progressbar").evaluate("(bar) => bar.value")
        page.wait_for_function(
            "([n, value]) => document.querySelectorAll('.dlw-latent-panel')[n].querySelector('progress').value > value",
            arg=[panel, before],
        )
        within.get_by_role("button", name="Stop").dispatch_event("click")
        opened.wait_for_python(f"not panels.explorers[{panel}]._busy")
    opened.execute("for each in panels.explorers:\n    each._options['epochs'] = 3\n    each.refresh()\npanels.wait()")
    bars = "[each._prior_pictures.bars.y for each in panels.explorers]"
    shares = opened.python(f"[(y / y.max()).tolist() for y in {bars}]")
    page.wait_for_function(BARS, arg=shares)
    assert page.locator(".dlw-legend").count() == 1
    for name in ("grey", "light"):
        page.get_by_role("button", name=name).click()
    page.wait_for_function(f"({BLUE})().length === 3 && ({BLUE})().every((count) => count > 0)")
    page.get_by_role("button", name="dark").click()
    page.wait_for_function(f"({BLUE})().every((count) => count === 0)")
    opened.wait_for_python("all(each.cloud.hidden == [0, 1, 2] for each in panels.explorers)")
    assert opened.errors == []
