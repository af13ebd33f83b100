"""Where a model's dropouts stand, which ones form a run, and which ones look odd."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from dlwidgets.compute.dropout.arguments import checked_inputs, checked_model
from dlwidgets.compute.dropout.calls import is_dropout
from dlwidgets.compute.dropout.combined import Combined, combine
from dlwidgets.compute.dropout.flow import Flow, Origin, step_of_module
from dlwidgets.compute.dropout.survey import Seen, all_awake, droppers, one_pass, survey
from dlwidgets.compute.observe import attributes_kept, undisturbed


@dataclass(frozen=True)
class Site:
    """One use of a dropout.

    Attributes
    ----------
    name
        Qualified name of the dropout module, or of the module whose code calls the function; "" for the model itself.
    call
        Which use of that name, counted from 0 in the order of execution.
    kind
        The module's class ("Dropout", "AlphaDropout", ...), the function ("F.dropout", "F.dropout2d", ...), "attention"
        for what drops attention weights, "recurrent" for what drops between the layers of a recurrent network.
    probability
        Of a unit to be dropped.
    placement
        "after": it receives an activation's output; "before": an activation receives its output (other dropouts and
        reshaping in between do not count, nor does pooling after the activation); None: neither, or not known.
    active_in_eval
        Whether it drops although the model is in eval mode.
    flags
        What looks odd, out of "two in a row", "before BatchNorm", "p = 0" and "active in eval".
    """

    name: str
    call: int
    kind: str
    probability: float
    placement: Literal["before", "after"] | None
    active_in_eval: bool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """Dropouts that directly follow each other, and the single one they amount to.

    For alpha dropouts, which do not set to zero, ``combined.probability`` is the chance that one of them drops a unit;
    they are not one alpha dropout.
    """

    sites: tuple[Site, ...]
    combined: Combined

    @property
    def probability(self) -> float:
        """q of the single dropout."""
        return self.combined.probability


@dataclass(frozen=True)
class Dropouts:
    """A model's dropouts.

    Attributes
    ----------
    sites
        In the order of execution; without inputs in the order of registration.
    runs
        Two or more sites in a row.
    never_called
        Names of modules with a dropout that the inputs did not reach; empty without inputs.
    """

    sites: tuple[Site, ...]
    runs: tuple[Run, ...]
    never_called: tuple[str, ...] = ()


def find_dropout(model: nn.Module, inputs: Any = None) -> Dropouts:
    """The dropouts of a model.

    Without inputs: its dropout modules (``nn.Dropout*``, alpha dropout, and what derives from them); what stands around
    them is known inside ``nn.Sequential`` only. With inputs (a tensor, a tuple of positional or a dict of keyword
    arguments) the model is run without gradients, and functional calls, attention's and recurrent networks' own dropout
    are found too, and every use of a module that is used several times.

    "before BatchNorm" is said where the noise reaches a BatchNorm through at most linear maps, pooling and activations:
    there the variance that the BatchNorm learned in training is not the one it meets in eval mode (Li et al.,
    "Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift", CVPR 2019).

    The model and the global random states are bitwise as before.

    Raises
    ------
    TypeError
        If model is no ``nn.Module`` or inputs are none of the above.
    ValueError
        If the model fails on these inputs.
    """
    model = checked_model(model)
    if inputs is None:
        with attributes_kept(model):
            return _registered(model)
    checked_inputs(inputs)
    left_on = _left_on(model)
    with undisturbed(model, partial(all_awake, model, inputs)) as draws:
        found = draws.seeded(0, partial(survey, model, inputs))
        evaluation = one_pass(model, inputs, left_on, left_on) if left_on else found.evaluation
    seen = list(found.training.seen)
    active = [False] * len(seen)
    for other in (other for other in evaluation.seen if other.active):
        match = next((i for i, one in enumerate(seen) if one.same == other.same and not active[i]), None)
        if match is None:  # drops in eval mode only
            seen.append(other)
            active.append(True)
        else:
            active[match] = True
    return _dropouts(seen, active, found.training.flow, found.never_called)


def _left_on(model: nn.Module) -> dict[str, nn.Module]:
    """What can drop and is in training mode although the model as a whole is not."""
    dropping, switches = droppers(model)
    parts = dropping | switches
    return {} if model.training else {name: part for name, part in parts.items() if part.training}


def _registered(model: nn.Module) -> Dropouts:
    """What the registered modules alone tell; changes the model's modes."""
    left_on = _left_on(model)
    model.eval()
    names: dict[nn.Module, str] = {}
    numbers: dict[str, int] = {}
    seen: list[Seen] = []
    paths = dict(model.named_modules(remove_duplicate=False))
    for path, part in paths.items():
        name = names.setdefault(part, path)
        if is_dropout(part):
            numbers[path] = len(seen)
            probability = float(part.p)
            seen.append(Seen(name, type(part).__name__, probability, part.training or name in left_on))
    flow = Flow()
    for path, part in paths.items():
        parent = paths.get(path.rpartition(".")[0]) if path else None
        if _is_sequential(part) and not _is_sequential(parent):
            origin = Origin()
            for child_path, child in _in_order(path, part):
                if child_path in numbers:
                    origin = flow.through_dropout(numbers[child_path], origin)
                else:
                    origin = flow.through(step_of_module(child), origin)
    return _dropouts(seen, [one.active for one in seen], flow, ())


def _is_sequential(module: nn.Module | None) -> bool:
    """Whether its children run one after the other, and nothing else happens."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _in_order(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    if not _is_sequential(module):
        return [(path, module)]
    prefix = f"{path}." if path else ""
    return [
        leaf for name, child in module._modules.items() if child is not None for leaf in _in_order(prefix + name, child)
    ]


def _dropouts(seen: list[Seen], active: list[bool], flow: Flow, never_called: tuple[str, ...]) -> Dropouts:
    chains = flow.runs()
    in_a_row = {number for chain in chains for number in chain}
    calls: dict[str, int] = {}
    sites = []
    for number, one in enumerate(seen):
        calls[one.name] = calls.get(one.name, -1) + 1
        flags = {
            "two in a row": number in in_a_row,
            "before BatchNorm": number in flow.before_batch_norm and one.probability > 0,
            "p = 0": one.probability == 0,
            "active in eval": active[number],
        }
        sites.append(
            Site(
                name=one.name,
                call=calls[one.name],
                kind=one.kind,
                probability=one.probability,
                placement=flow.placement(number),
                active_in_eval=active[number],
                flags=tuple(flag for flag, true in flags.items() if true),
            )
        )
    runs = tuple(
        Run(tuple(sites[number] for number in chain), combine(*(sites[number].probability for number in chain)))
        for chain in chains
    )
    return Dropouts(tuple(sites), runs, never_called)
