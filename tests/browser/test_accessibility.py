"""axe-core on the smallest scene of each exhibit, on a phone, light and dark."""

from pathlib import Path

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SCENES = """
import torch
from torch import nn
from dlwidgets import DropoutSimulator, GradientFlowMeter, LatentSpaceExplorer, ReceptiveFieldViewer

torch.manual_seed(0)
viewer = ReceptiveFieldViewer(nn.Sequential(nn.Conv2d(3, 2, 3, stride=2), nn.ReLU()), (1, 3, 16, 16))
simulator = DropoutSimulator(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.2)), torch.zeros(2, 3))
model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
meter = GradientFlowMeter(model, optimizer)
with meter:
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
codec = lambda images: images.flatten(1)[:, :2], lambda codes: codes.sigmoid().repeat(1, 2).reshape(-1, 2, 2)
explorer = LatentSpaceExplorer(codec, torch.rand(5, 2, 2), torch.tensor([0, 0, 1, 1, 1]))
for exhibit in (viewer, simulator, explorer):
    exhibit.wait()
    assert exhibit.error == "", exhibit.error
"""
VIOLATIONS = """async (exhibit) => {
    const found = await axe.run(exhibit, {resultTypes: ['violations']});
    return found.violations.flatMap(({id, nodes}) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)}`));
}"""


def test_axe_finds_nothing_in_any_exhibit_and_finds_a_planted_fault(notebook):
    opened = notebook([SCENES, "viewer", "simulator", "meter", "explorer"], width=360)
    page = opened.page
    opened.command("application:toggle-left-area")
    opened.run_all()
    page.add_script_tag(path=AXE)
    exhibits = page.locator(".jp-OutputArea-output > .dlw-exhibit")
    tabs = page.locator(".dlw-dropout .lm-TabBar-tab")
    tabs.nth(5).wait_for()
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        opened.use_theme(theme)
        assert exhibits.count() == 4
        for exhibit in exhibits.all():
            exhibit.scroll_into_view_if_needed()
            assert exhibit.evaluate(VIOLATIONS) == [], theme
        for tab in tabs.all():
            tab.click()
            assert page.locator(".dlw-dropout").evaluate(VIOLATIONS) == [], (theme, tab.inner_text())
    exhibits.first.evaluate("(exhibit) => exhibit.append(document.createElement('button'))")
    (fault,) = exhibits.first.evaluate(VIOLATIONS)
    assert fault.startswith("button-name: <button>")
    assert opened.errors == []
