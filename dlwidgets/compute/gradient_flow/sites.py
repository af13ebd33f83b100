"""Which modules of a model are watched, under which names, and where their units lie."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from .. import observe
from .saturation import Saturation, saturation

#: Where the units of an output lie: along axis 1, or along the axis that so many others follow.
CHANNEL = -1


@dataclass(eq=False, slots=True)
class Site:
    """One watched module: a leaf, or a module with parameters of its own."""

    module: nn.Module
    name: str
    kind: str
    saturation: Saturation | None
    layout: int | None
    parameters: tuple[Any, ...]
    clone_input: bool
    tied: bool = False  # whether another one holds one of its parameters too
    container: bool = False  # whether others are called inside it
    began: list[int] = field(default_factory=list)  # of a container's calls under way: how many calls had ended before
    positions: list[int] = field(default_factory=list)  # its position in the result, by call
    calls: int = 0
    forward: int = -1  # the forward pass that `calls` counts in


def unit_layout(module: nn.Module) -> int | None:
    """How many axes follow the units in the module's output, CHANNEL for axis 1, None where it leaves them as they
    were.
    """
    if isinstance(module, _ConvNd):
        return len(module.kernel_size)
    if isinstance(module, (_NormBase, nn.GroupNorm)):
        return CHANNEL
    if isinstance(
        module, (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.Flatten)
    ):
        return 0
    return None


class Sites:
    """The watched modules of a model as it stands: modules and parameters may be replaced while it trains."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.by_id: dict[int, Site] = {}
        self.known: dict[int, nn.Module] = {}
        self.openers: set[int] = set()  # sites whose calls are seen from their beginning on
        self.parameters: dict[str, Any] = {}
        self.identities: set[int] = set()  # of the parameters
        self._signature: list[Any] = []

    def forget(self) -> None:
        """Let go of all modules and parameters."""
        self.by_id, self.known, self.parameters, self.openers, self.identities = {}, {}, {}, set(), set()

    def refresh(self) -> bool:
        """Look at the model again; True if anything was replaced, added or removed since, for good."""
        if self.known and (self._sign() == self._signature or observe.stand_ins()):
            return False
        old = self.by_id
        self.by_id, self.known = {}, {}
        for name, module in self.model.named_modules():
            self.known[id(module)] = module
            own = tuple(p for p in module._parameters.values() if p is not None)
            container = any(True for _ in module.children())
            if own or not container:
                site = self.by_id[id(module)] = _site(module, name, own, old.get(id(module)))
                site.container = container
        owners: dict[int, int] = {}
        for site in self.by_id.values():
            for parameter in site.parameters:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
        for site in self.by_id.values():
            site.tied = any(owners[id(p)] > 1 for p in site.parameters)
        self.openers = {key for key, site in self.by_id.items() if site.clone_input or site.container}
        self.parameters = dict(self.model.named_parameters())
        self.identities = {id(p) for p in self.parameters.values()}
        self._signature = self._sign()
        return True

    def _sign(self) -> list[Any]:
        signature: list[Any] = []
        for module in self.known.values():
            children, own = module._modules, module._parameters
            if children:
                signature.extend(children.keys())
                signature.extend(map(id, children.values()))
            if own:
                signature.extend(map(id, own.values()))
        return signature


def _site(module: nn.Module, name: str, own: tuple[Any, ...], old: Site | None) -> Site:
    kind = type(module).__name__
    rule = saturation(module)
    clone_input = rule is not None and rule.of_input and bool(getattr(module, "inplace", False))
    site = Site(module, name, kind, rule, unit_layout(module), own, clone_input)
    if old is not None and (old.name, old.kind) == (name, kind):
        site.positions, site.calls, site.forward = old.positions, old.calls, old.forward
    return site


def materialised(parameter: Any) -> bool:
    """Whether a parameter has values: not one of a lazy module before its first call, nor one on the meta device."""
    return not is_lazy(parameter) and parameter.device.type != "meta"


_PASSING = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.Fold,
    nn.Unfold,
    nn.Embedding,
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
)


def passes_on(module: nn.Module) -> bool:
    """Whether zeros in the output are no sign of a dead unit of its own: they come from the input, or from weights."""
    return isinstance(module, _PASSING) or any(p is not None for p in module._parameters.values())
