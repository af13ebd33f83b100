"""Take the pictures of the README: each exhibit in a real JupyterLab, pointed at, light and dark.

`make screenshots` writes docs/NAME.png (light) and build/screenshots/ (light and dark, wide and 360 pixels).
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import chromium
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "browser"))
from jupyter import CHROMIUM_FLAGS, Lab, Notebook  # noqa: E402


@dataclass(frozen=True)
class Scene:
    """A cell, and where the mouse rests: a CSS selector and a place in it as fractions; ``tab`` is opened before."""

    cell: str
    selector: str
    across: float = 0.5
    down: float = 0.5
    tab: str = ""


SCENES = {
    "dropout": Scene(
        """
from dlwidgets import DropoutSimulator

simulator = DropoutSimulator()
simulator.masks.kind = "cells"
simulator.masks.sample = 60
simulator.wait()
simulator
""",
        ".bqplot:visible",
        tab="Masks",
    ),
    "gradient_flow": Scene(
        """
import torch
from torch import nn
from dlwidgets import GradientFlowMeter

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(42, 128), nn.Sigmoid(), *[nn.Linear(128, 128), nn.Sigmoid()] * 24, nn.Linear(128, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
meter = GradientFlowMeter(model, optimizer)
display(meter)
with meter:
    for step in range(200):
        x = torch.randn(64, 42)
        loss = nn.functional.mse_loss(model(x), x[:, :1].sin() + 0.5 * x[:, 1:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        meter.log(loss=loss)
meter.position = 12
""",
        "canvas.dlw-raster-hover",
    ),
    "latent_space": Scene(
        """
import torch
from sklearn.datasets import load_digits
from dlwidgets import LatentSpaceExplorer

digits = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32), torch.tensor(digits.target)
explorer = LatentSpaceExplorer.train(images[:1500], labels[:1500], beta=1.0, epochs=50, held_out=images[1500:])
explorer.wait()
explorer
""",
        "canvas.dlw-points-hover",
        0.4,
        0.4,
    ),
    "receptive_field": Scene(
        """
import torch
from dlwidgets import ReceptiveFieldViewer

model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, dilation=4), torch.nn.MaxPool2d(2)
)
viewer = ReceptiveFieldViewer(model, (1, 3, 96, 96))
viewer.wait()
viewer
""",
        "canvas.dlw-raster-hover",
    ),
}


def take(page: Page, scene: Scene, path: Path) -> None:
    """Rest the mouse at the scene's place and take a picture of the exhibit."""
    exhibit = page.locator(".dlw-exhibit").first
    exhibit.wait_for()
    if scene.tab:
        exhibit.get_by_role("tab", name=scene.tab).click()
    target = page.locator(scene.selector).first
    target.wait_for()
    place = target.bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + scene.across * place["width"], place["y"] + scene.down * place["height"])
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    path.parent.mkdir(parents=True, exist_ok=True)
    exhibit.screenshot(path=path)


def main() -> None:
    """Take the pictures of the scenes named on the command line, or of all."""
    wanted = sys.argv[1:] or list(SCENES)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=CHROMIUM_FLAGS)
        for name in wanted:
            scene = SCENES[name]
            for width in (1200, 360):
                notebook = Notebook(lab, browser, [scene.cell], name=f"{name}-{width}", width=width)
                if width < 800:
                    notebook.command("application:toggle-left-area")
                notebook.run_all()
                for theme in ("Light", "Dark"):
                    notebook.use_theme(f"JupyterLab {theme}")
                    path = PROJECT / "build" / "screenshots" / f"{name}-{width}-{theme.lower()}.png"
                    take(notebook.page, scene, path)
                    print(path.relative_to(PROJECT))
                    if (width, theme) == (1200, "Light"):
                        (PROJECT / "docs").mkdir(exist_ok=True)
                        (PROJECT / "docs" / f"{name}.png").write_bytes(path.read_bytes())
                notebook.close()
        browser.close()
        lab.stop()


if __name__ == "__main__":
    main()
