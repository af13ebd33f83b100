"""Finding dropouts: where they stand, runs, odd ones."""

import pytest
import torch
from dropout_zoo import COUNTED, P, SwitchedAttention, TrainOnly, fingerprint
from torch import Tensor, nn
from torch.nn import functional as F

from dlwidgets.compute.dropout import Site, combine, find_dropout


def both(model: nn.Module, inputs: object) -> list[tuple[Site, ...]]:
    """The sites without and with inputs."""
    return [find_dropout(model).sites, find_dropout(model, inputs).sites]


def test_a_classifier() -> None:
    model = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.25), nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Tanh()),
        nn.Dropout(0.1), nn.Linear(8, 2),
    )  # fmt: skip
    for sites in both(model, torch.randn(3, 4)):
        assert sites == (
            Site("2", 0, "Dropout", 0.25, "after", False),
            Site("3.1", 0, "Dropout", 0.5, "before", False),
            Site("4", 0, "Dropout", 0.1, "after", False),
        )


def test_reshaping_and_pooling_between_activation_and_dropout() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(18, 4),
        nn.Dropout(0.2), nn.Unflatten(1, (2, 2)), nn.Sigmoid(),
    )  # fmt: skip
    for sites in both(model, torch.randn(2, 1, 8, 8)):
        assert [site.placement for site in sites] == ["after", "before"]


def test_runs_and_what_they_amount_to() -> None:
    model = nn.Sequential(
        nn.Dropout(0.1), nn.Dropout(0.2), nn.Linear(4, 4), nn.Dropout(0.3), nn.ReLU(), nn.Dropout(0.4), nn.Identity(),
        nn.Flatten(), nn.Dropout(0.5), nn.Dropout(0.6),
    )  # fmt: skip
    for found in (find_dropout(model), find_dropout(model, torch.randn(2, 4))):
        assert [[site.name for site in run.sites] for run in found.runs] == [["0", "1"], ["5", "8", "9"]]
        assert found.runs[0].combined == combine(0.1, 0.2)
        assert found.runs[0].probability == pytest.approx(0.28)
        assert found.runs[1].probability == pytest.approx(1 - 0.6 * 0.5 * 0.4)
        flagged = [site.name for site in found.sites if "two in a row" in site.flags]
        assert flagged == ["0", "1", "5", "8", "9"]
        assert [site.placement for site in found.sites] == [None, None, "before", "after", "after", "after"]


def test_pooling_between_two_dropouts_makes_no_run() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.MaxPool1d(2), nn.Dropout(0.5))
    for found in (find_dropout(model), find_dropout(model, torch.randn(2, 3, 4))):
        assert found.runs == ()


def test_odd_ones() -> None:
    model = nn.Sequential(
        nn.Dropout(0.5), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(),
        nn.Dropout(0.0), nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.3), nn.Linear(4, 2),
    )  # fmt: skip
    model.eval()
    model[10].train()
    for sites in both(model, torch.randn(3, 4)):
        assert [(site.name, site.flags) for site in sites] == [
            ("0", ("before BatchNorm",)),
            ("3", ("before BatchNorm",)),
            ("7", ("p = 0",)),
            ("10", ("active in eval",)),
        ]
        assert [site.active_in_eval for site in sites] == [False, False, False, True]


def test_a_model_in_train_mode_has_nothing_left_active() -> None:
    for sites in both(nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)).train(), torch.ones(2, 2)):
        assert [site.active_in_eval for site in sites] == [False]


def test_active_in_eval_by_code() -> None:
    class AlwaysOn(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, self.p, training=True)

    class StaysOn(nn.Dropout):
        def train(self, mode: bool = True) -> nn.Module:
            return super().train(True)

    class Inverted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if self.training else F.dropout(x, 0.1)

    class Forgotten(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(x, 0.3, training=self.training)
            return F.dropout(x + 1, 0.3)

    model = nn.Sequential(AlwaysOn(0.2), nn.Linear(2, 2), StaysOn(0.3), Inverted(), nn.Linear(2, 2), Forgotten())
    found = find_dropout(model, torch.ones(1, 2)).sites
    assert {(site.name, site.call, site.kind): site.active_in_eval for site in found} == {
        ("0", 0, "AlwaysOn"): True,
        ("2", 0, "StaysOn"): True,
        ("5", 0, "F.dropout"): True,
        ("5", 1, "F.dropout"): False,
        ("3", 0, "F.dropout"): True,
    }
    assert find_dropout(StaysOn(0.3)).sites[0].active_in_eval


def test_functions_need_inputs() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.15, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(F.gelu(self.linear(x)), 0.1, self.training)
            x = F.feature_alpha_dropout(x, 0.2, self.training)
            x = self.attention(x, x, x)[0]
            return F.relu(torch.dropout(x, 0.3, self.training))

    model = nn.Sequential(Block(), Block())
    assert find_dropout(model).sites == ()
    sites = find_dropout(model, torch.randn(2, 3, 4)).sites
    assert [(s.name, s.call, s.kind, s.probability, s.placement) for s in sites[:4]] == [
        ("0", 0, "F.dropout", 0.1, "after"),
        ("0", 1, "F.feature_alpha_dropout", 0.2, "after"),
        ("0.attention", 0, "attention", 0.15, None),
        ("0", 2, "F.dropout", 0.3, "before"),
    ]
    assert [site.name for site in sites[4:]] == ["1", "1", "1.attention", "1"]


def test_transformer_layers_and_recurrent_ones() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    assert [site.name for site in find_dropout(layer).sites] == ["dropout", "dropout1", "dropout2"]
    for mode in (True, False):
        sites = find_dropout(layer.train(mode), torch.randn(2, 3, 8)).sites
        assert [(s.name, s.kind, s.placement) for s in sites] == [
            ("self_attn", "attention", None),
            ("dropout1", "Dropout", None),
            ("dropout", "Dropout", "after"),
            ("dropout2", "Dropout", None),
        ]
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        (site,) = find_dropout(kind(4, 4, 2, dropout=0.4), torch.randn(3, 2, 4)).sites
        assert (site.name, site.kind, site.probability) == ("", "recurrent", 0.4)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 2, 4), torch.tensor([3, 2]))
    (site,) = find_dropout(nn.LSTM(4, 4, 2, dropout=0.4), (packed,)).sites
    assert site.kind == "recurrent"
    assert find_dropout(nn.LSTM(4, 4), torch.randn(3, 2, 4)).sites == ()
    assert find_dropout(nn.MultiheadAttention(4, 2), (torch.randn(3, 2, 4),) * 3).sites == ()


def test_every_use_of_one_module() -> None:
    drop = nn.Dropout(0.5)
    model = nn.Sequential(nn.Linear(2, 2), drop, nn.ReLU(), drop)
    for sites in both(model, torch.ones(1, 2)):
        assert [(site.name, site.call, site.placement) for site in sites] == [("1", 0, "before"), ("1", 1, "after")]


def test_what_runs_in_training_mode_only() -> None:
    sites = find_dropout(nn.Sequential(TrainOnly(), SwitchedAttention()), torch.ones(2, 4)).sites
    assert [(site.name, site.kind, site.active_in_eval) for site in sites] == [
        ("0", "F.dropout", False),
        ("1", "attention", False),
    ]


def test_never_called_and_unknown_placement() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.relu = nn.Dropout(0.5), nn.Dropout(0.4), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.used(self.relu(x))

    assert [(site.name, site.placement) for site in find_dropout(Skips()).sites] == [("used", None), ("unused", None)]
    found = find_dropout(Skips(), torch.ones(1, 2))
    assert [(site.name, site.placement) for site in found.sites] == [("used", "after")]
    assert found.never_called == ("unused",)


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("training", [True, False])
def test_finds_each_kind_and_leaves_nothing_behind(name, training) -> None:
    model = COUNTED[name].make().train(training)
    before = fingerprint(model)
    found = find_dropout(model, torch.ones(3, 4))
    find_dropout(model)
    assert fingerprint(model) == before
    assert found.sites[0].probability == P
    assert found.sites[0].active_in_eval == (name == "always on")
    assert [site.name for site in found.sites[1:]] == (["head_drop"] if name == "auxiliary head" else [])


def test_alpha_dropout_and_the_model_itself() -> None:
    (site,) = find_dropout(nn.AlphaDropout(0.2)).sites
    assert (site.name, site.kind, site.probability) == ("", "AlphaDropout", 0.2)
    assert find_dropout(nn.FeatureAlphaDropout(0.3), torch.ones(2, 3, 4)).sites[0].kind == "FeatureAlphaDropout"
    assert find_dropout(nn.Linear(2, 2)).sites == ()


def test_bad_input_gets_one_sentence() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        find_dropout("model")
    with pytest.raises(TypeError, match=r"inputs must be a tensor, a tuple .* got int"):
        find_dropout(nn.Dropout(), 3)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    before = fingerprint(model)
    with pytest.raises(ValueError, match="the model fails on these inputs in eval mode: RuntimeError: mat1 and mat2"):
        find_dropout(model, torch.ones(2, 4))
    assert fingerprint(model) == before
