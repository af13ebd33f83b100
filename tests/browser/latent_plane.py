"""The plane of a LatentSpaceExplorer in a page: what its tests show, where its places are and what is drawn there."""

import re

SETUP = """
import math, torch
from dlwidgets.widgets.latent_space import LatentSpaceExplorer

def decode(codes):
    grey = torch.sigmoid(codes.double())
    return torch.stack([grey[:, 0], grey[:, 1], grey[:, 0], grey[:, 1]], 1).reshape(-1, 2, 2)

def encode(images):
    mean = torch.logit(images.flatten(1)[:, :2])
    return mean, torch.full_like(mean, 2 * math.log(0.25))

corners = torch.tensor([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
names = ["left", "right", "left", "right", "middle"]
"""

PIXELS = """(name) => {
    const canvas = document.querySelector(`.dlw-tile-${name} > canvas`);
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, canvas.height, ...[...data].filter((_, i) => i % 4 === 0)];
}"""


# What there is to see of the marks drawn in a colour, by their paths.
LINES = """(color) => [...document.querySelectorAll('.dlw-latent-plane path')].filter((path) =>
    getComputedStyle(path).stroke === color && path.getBoundingClientRect().width > 1).length"""
GREY, ORANGE, GREEN = "rgb(128, 128, 128)", "rgb(213, 94, 0)", "rgb(0, 158, 115)"
PINK = "rgb(204, 121, 167)"


class Plane:
    """The plane of an explorer on a page; the box is 3 to all sides, inset by 2.5 % across."""

    def __init__(self, page, nth=0):
        self.page = page
        self.canvas = page.locator("canvas.dlw-points-hover").nth(nth)
        self.canvas.wait_for()
        page.wait_for_function(
            "n => document.querySelectorAll('canvas.dlw-points-hover')[n].getBoundingClientRect().width > 100", arg=nth
        )
        self.canvas.scroll_into_view_if_needed()

    def point(self, x, y):
        box = self.canvas.bounding_box()
        across = 0.5 + x / 6 * (1 - 2 * 0.025)
        down = 0.5 - y / 6 * (1 - 2 * 0.025)
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def move(self, x, y):
        self.page.evaluate(
            "() => { window.saidBefore = document.querySelector('.dlw-tile-here figcaption').textContent }"
        )
        self.page.mouse.move(*self.point(x, y))

    def caption(self):
        """What is said of the place under the probe; words come a little after the picture."""
        self.page.wait_for_function(
            """() => {
                const said = {interpolated: ': interpolated', exact: ': decoded exactly'};
                const {source} = document.querySelector('.dlw-decoded').dataset;
                const caption = document.querySelector('.dlw-tile-here figcaption').textContent;
                return caption !== window.saidBefore && caption.endsWith(said[source]);
            }"""
        )
        return self.page.locator(".dlw-tile-here figcaption").first.inner_text()

    def place(self):
        """Where the caption says the probe is."""
        return [float(number.replace("−", "-")) for number in re.findall("z[12] (−?[0-9.]+)", self.caption())]


def drag(plane, *places):
    plane.page.mouse.move(*plane.point(*places[0]))
    plane.page.mouse.down()
    for place in places[1:]:
        plane.page.mouse.move(*plane.point(*place), steps=4)
    plane.page.mouse.up()
