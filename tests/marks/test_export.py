"""What an exported page holds; tests/browser/test_export_marks.py opens one."""

import base64
import gzip
import json
import re

import ipywidgets
import numpy as np
import pytest

from dlwidgets.export import export_page
from dlwidgets.marks import FieldMap, Raster, raster_figure


def parts_of(page: str) -> list[tuple[str, str]]:
    found = re.findall(r'<script type="text/plain" data-dlw="([^"]+)">([^<]+)</script>', page)
    return [(kind, gzip.decompress(base64.b64decode(text)).decode()) for kind, text in found]


def test_a_page_holds_the_widget_and_nothing_else(tmp_path):
    bystander = ipywidgets.Label("a secret of another cell")
    raster = Raster(np.zeros((2, 2), np.float32), linked=FieldMap.pack([], (2, 2), (2, 2)), alt="seen")
    box = ipywidgets.VBox([raster_figure(raster)])
    path = export_page(box, tmp_path / "page.html", title="<b>A & B</b>")
    page = path.read_text()
    assert "<title>&lt;b&gt;A &amp; B&lt;/b&gt;</title>" in page
    parts = parts_of(page)
    [state] = [json.loads(text)["state"] for kind, text in parts if "widget-state" in kind]
    assert {box.model_id, raster.model_id, raster.linked.model_id} <= state.keys()
    assert bystander.model_id not in state
    [view] = [json.loads(text) for kind, text in parts if "widget-view" in kind]
    assert view["model_id"] == box.model_id
    names = [re.search(r'define\("(dlwidgets|bqplot|bqscales)"', text) for kind, text in parts if "javascript" in kind]
    assert [name[1] for name in names if name] == ["bqscales", "bqplot", "dlwidgets"]


def test_only_a_widget_can_be_exported(tmp_path):
    with pytest.raises(TypeError, match="widget must be a widget that can be displayed, got FieldMap"):
        export_page(FieldMap(), tmp_path / "page.html")
    with pytest.raises(FileNotFoundError):
        export_page(ipywidgets.Label("x"), tmp_path / "nowhere" / "page.html")
