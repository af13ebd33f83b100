"""Dropout where it happens: recognised in the function call, whoever makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

_ELEMENTWISE = {
    "dropout": True,
    "dropout1d": True,
    "dropout2d": True,
    "dropout3d": True,
    "alpha_dropout": False,
    "feature_alpha_dropout": False,
    "feature_dropout": True,
    "native_dropout": True,
}
"""Functions that drop parts of their first argument, and whether they do so when not told: torch.nn.functional's own
defaults. The ones of ``torch`` share their names (with "_" where they work in place) and must always be told."""

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_MISSING = object()


@dataclass(frozen=True)
class Argument:
    """Where a function takes one argument: its position, its names, and what it is when left out."""

    position: int
    names: tuple[str, ...]
    default: object = None

    def get(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if len(args) > self.position:
            return args[self.position]
        return next((kwargs[name] for name in self.names if name in kwargs), self.default)

    def put(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: object) -> tuple[tuple[Any, ...], dict]:
        """The arguments with ``value`` in this place."""
        changed = dict(kwargs)
        if len(args) > self.position:
            return (*args[: self.position], value, *args[self.position + 1 :]), changed
        changed[next((name for name in self.names if name in kwargs), self.names[0])] = value
        return args, changed


@dataclass(frozen=True)
class DropoutCall:
    """A function call that may drop something.

    Attributes
    ----------
    kind
        "F.dropout", "F.dropout2d", ...; "attention" for what drops attention weights, "recurrent" between the layers
        of a recurrent network.
    probability, training
        As the call says; calls without such a switch drop whenever the probability is positive.
    in_place
        Whether it overwrites its first argument.
    """

    kind: str
    probability: float
    training: bool
    in_place: bool
    _where: tuple[Argument, Argument | None]

    @property
    def switchable(self) -> bool:
        """Whether the call says what its probability is even while it is off."""
        return self._where[1] is not None

    def rewritten(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], probability: float, training: bool
    ) -> tuple[tuple[Any, ...], dict]:
        """The call's arguments with another probability and switch."""
        where_probability, where_training = self._where
        args, kwargs = where_probability.put(args, kwargs, probability)
        return where_training.put(args, kwargs, training) if where_training else (args, dict(kwargs))


def recognised(function: Callable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> DropoutCall | None:
    """The dropout in this call, or None where there is none."""
    name = getattr(function, "__name__", "")
    if name == "scaled_dot_product_attention":
        where, switch = Argument(4, ("dropout_p",), 0.0), None
        probability = float(where.get(args, kwargs))
        return DropoutCall("attention", probability, probability > 0, False, (where, switch)) if probability else None
    if name == "multi_head_attention_forward":
        where, switch = Argument(10, ("dropout_p",)), Argument(13, ("training",), True)
        probability = float(where.get(args, kwargs))
        training = bool(switch.get(args, kwargs))
        return DropoutCall("attention", probability, training, False, (where, switch)) if probability else None
    if name in RECURRENT:
        # (input, state, weights, has_biases, num_layers, dropout, train, ...), and one argument more at the front for
        # packed sequences: the first bool is has_biases.
        biases = next((index for index, value in enumerate(args) if isinstance(value, bool)), None)
        if biases is None or len(args) < biases + 4 or args[biases + 1] < 2 or not args[biases + 2]:
            return None
        where, switch = Argument(biases + 2, ("dropout",)), Argument(biases + 3, ("train",))
        return DropoutCall("recurrent", float(args[biases + 2]), bool(args[biases + 3]), False, (where, switch))
    plain = name.rstrip("_")
    if plain in _ELEMENTWISE:
        where, switch = Argument(1, ("p",), 0.5), Argument(2, ("training", "train"), _ELEMENTWISE[plain])
        in_place = name.endswith("_") or bool(Argument(3, ("inplace",), False).get(args, kwargs))
        probability = float(where.get(args, kwargs))
        return DropoutCall(f"F.{plain}", probability, bool(switch.get(args, kwargs)), in_place, (where, switch))
    return None


def is_dropout(module: nn.Module | None) -> bool:
    """Whether a module's only work is to drop: torch's own and what derives from them."""
    return isinstance(module, _DropoutNd)


def own_dropout(module: nn.Module) -> str | None:
    """The attribute in which a module keeps the probability of a dropout of its own, None where it has none."""
    if is_dropout(module):
        return "p"
    if isinstance(module, nn.MultiheadAttention) and module.dropout > 0:
        return "dropout"
    if isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1:
        return "dropout"
    return None


def may_switch_dropout(module: nn.Module) -> bool:
    """Whether a module's own code asks for its training mode, and something inside it drops.

    Such code may drop in training mode only (``if self.training: x = self.drop(x)``, or
    ``dropout_p=self.p if self.training else 0``), so that eval mode does not show it. Looked up in the names that the
    class's methods use, torch's own classes excepted.
    """
    names: set[str] = set()
    for kind in type(module).__mro__:
        if not kind.__module__.startswith("torch."):
            for member in vars(kind).values():
                names |= _names(getattr(member, "__code__", None))
    if "training" not in names:
        return False
    by_function = any("dropout" in name.lower() or name == "scaled_dot_product_attention" for name in names)
    return by_function or any(own_dropout(part) is not None for part in module.modules() if part is not module)


def _names(code: Any) -> set[str]:
    if code is None:
        return set()
    names = {*code.co_names, *code.co_varnames, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, str):
            names.add(constant) if constant.isidentifier() else None
        elif isinstance(constant, tuple):
            names |= {part for part in constant if isinstance(part, str)}
        elif hasattr(constant, "co_names"):
            names |= _names(constant)
    return names


def first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The tensor that a function works on: its first tensor argument."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


def asleep(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call as in eval mode, for code in a module that is awake for its dropout and also normalises or is random."""
    if function is F.rrelu:
        return Argument(3, ("training",)).put(args, kwargs, False)
    if function in (F.batch_norm, F.instance_norm) and Argument(1, ("running_mean",)).get(args, kwargs) is not None:
        return Argument(5, ("training" if function is F.batch_norm else "use_input_stats",)).put(args, kwargs, False)
    return args, kwargs
