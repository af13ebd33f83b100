"""Small networks that drop in every way torch has.

Each returns, for a batch of ones, 0 for what was dropped and 1 / (1 - p) for what was kept, so that the mean over
samples tells how many samples kept each entry.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

P = 0.3


class Calls(nn.Module):
    """Any function of the module and x as a network."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class TrainOnly(nn.Module):
    """The dropout is not even called in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = F.dropout(x, P)
        return x


class SwitchedModule(nn.Module):
    """Calls its dropout module in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(P)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) if self.training else x


class OneIsWiredOff(nn.Module):
    """Of its two dropouts one never drops, whatever the mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(x, 0.9, training=False)
        return F.dropout(x, P) if self.training else x


class SwitchesItsPart(nn.Module):
    """Whether its part, which switches too, is called at all depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.part = SwitchedModule()

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x) if self.training else x


class Auxiliary(nn.Module):
    """Returns a second head's answer in training mode, as GoogLeNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.head_drop = nn.Dropout(P), nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return (self.drop(x), self.head_drop(x)) if self.training else self.drop(x)


class SwitchedAttention(nn.Module):
    """The probability is 0 in eval mode, as most transformers write it. One key a head: its weight is 1."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x[:, :, None, None]
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=P if self.training else 0.0).flatten(1)


class Functional(nn.Module):
    """The usual functional call."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, P, training=self.training)


class OneMaskForTheBatch(nn.Module):
    """Drops whole columns: one mask, broadcast over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x * F.dropout(torch.ones(1, x.shape[1]), P, training=self.training)


class WeightDropout(nn.Module):
    """Drops weights instead of units (DropConnect), one mask for the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.dropout(self.weight, P, training=self.training))


class OwnMask(nn.Dropout):
    """Derives from nn.Dropout and draws the mask itself."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full_like(x, 1 - self.p)) / max(1 - self.p, 1e-9)


class ByValue(nn.Module):
    """Control flow that depends on values: vmap refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(P)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(x)
        return y if bool(y.sum() > -1) else y * float("nan")


class Recurrent(nn.Module):
    """Two ReLU layers with identity weights and one time step: the second shows what was dropped between them."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 4, 2, nonlinearity="relu", bias=False, batch_first=batch_first, dropout=P)
        for name, weight in self.rnn.named_parameters():
            weight.data = torch.eye(4) if "ih" in name else torch.zeros(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        axis = 1 if self.rnn.batch_first else 0
        return self.rnn(x.unsqueeze(axis))[0].squeeze(axis)


class OwnAttention(nn.Module):
    """nn.MultiheadAttention with identity weights and one key: each head's value is kept or dropped."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 4, dropout=P, bias=False, batch_first=True)
        self.attention.in_proj_weight.data = torch.eye(4).repeat(3, 1)
        self.attention.out_proj.weight.data = torch.eye(4)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        y = x[:, None]
        return self.attention(y, y, y, need_weights=self.need_weights)[0][:, 0]


class NormalisedAndSwitched(nn.Module):
    """One module that drops in training mode only and normalises by function: the latter must stay in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(x, self.mean, self.var, training=self.training, eps=0.0)
        if self.training:
            x = F.dropout(x, P)
        return x


@dataclass(frozen=True)
class Counted:
    """How to make a network, and whether all samples can go through it at once."""

    make: Callable[[], nn.Module]
    vectorised: bool = True


COUNTED = {
    "Dropout": Counted(lambda: nn.Dropout(P)),
    "Dropout in place": Counted(lambda: Calls(lambda self, x: self.drop(x + 0), drop=nn.Dropout(P, inplace=True))),
    "Dropout2d": Counted(lambda: Calls(lambda self, x: self.drop(x[..., None, None]).flatten(1), drop=nn.Dropout2d(P))),
    "Dropout1d": Counted(lambda: Calls(lambda self, x: self.drop(x[..., None]).flatten(1), drop=nn.Dropout1d(P))),
    "Dropout3d": Counted(
        lambda: Calls(lambda self, x: self.drop(x[..., None, None, None]).flatten(1), drop=nn.Dropout3d(P))
    ),
    "functional": Counted(Functional),
    "functional 2d": Counted(
        lambda: Calls(lambda self, x: F.dropout2d(x[..., None, None], P, self.training).flatten(1))
    ),
    "torch.dropout": Counted(lambda: Calls(lambda self, x: torch.dropout(x, P, self.training))),
    "train only": Counted(TrainOnly),
    "train only, a module": Counted(SwitchedModule),
    "train only, a part": Counted(SwitchesItsPart),
    "one is wired off": Counted(OneIsWiredOff),
    "auxiliary head": Counted(Auxiliary),
    "always on": Counted(lambda: Calls(lambda self, x: F.dropout(x, P))),
    "one mask for the batch": Counted(OneMaskForTheBatch),
    "weights": Counted(WeightDropout),
    "own mask": Counted(lambda: OwnMask(P)),
    "scaled dot product attention": Counted(SwitchedAttention),
    "multi-head attention": Counted(lambda: OwnAttention(False)),
    "multi-head attention with weights": Counted(lambda: OwnAttention(True)),
    "recurrent": Counted(lambda: Recurrent(False)),
    "recurrent, batch first": Counted(lambda: Recurrent(True)),
    "normalised by function": Counted(NormalisedAndSwitched),
    "after BatchNorm": Counted(lambda: nn.Sequential(nn.BatchNorm1d(4, eps=0.0), nn.Dropout(P))),
    "control flow by value": Counted(ByValue, vectorised=False),
}


def random_states() -> tuple[bytes, str, str, int]:
    """The global random states of torch, numpy and Python, and how much is noted down for when CUDA is first used."""
    numpy_state, python_state = str(np.random.get_state()), str(random.getstate())  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state, python_state, len(torch.cuda._queued_calls)


def fingerprint(model: nn.Module) -> list[object]:
    """Everything about a model that must not change, bit for bit."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"]
    return [
        [(name, id(tensor), tensor.detach().numpy().tobytes(), tensor._version) for name, tensor in tensors],
        [(name, None if p.grad is None else p.grad.numpy().tobytes()) for name, p in model.named_parameters()],
        [
            (name, part.training, sorted(vars(part)), getattr(part, "p", None), getattr(part, "dropout", None))
            for name, part in model.named_modules()
        ],
        [len(getattr(part, hook)) for part in model.modules() for hook in hooks],
        random_states(),
    ]
