"""A copy of a model that has dropout, for models that have none."""

import copy

from torch import nn

from dlwidgets.compute.dropout.arguments import checked_model, checked_probability
from dlwidgets.compute.dropout.flow import step_of_module


def with_dropout(model: nn.Module, probability: float = 0.5) -> nn.Module:
    """A deep copy of ``model`` with an ``nn.Dropout`` after every activation module but a last one.

    Each activation becomes ``nn.Sequential(activation, nn.Dropout(probability))`` in its place; activations called as
    functions cannot be followed. An activation that is the last registered module makes the output and is left alone.

    Raises
    ------
    TypeError
        If model is no ``nn.Module`` or probability no number.
    ValueError
        If probability lies outside [0, 1], the model has no activation module inside, or it cannot be copied.
    """
    model = checked_model(model)
    probability = checked_probability(probability)
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(f"model cannot be copied: {type(error).__name__}: {error}") from error
    parts = list(copied.modules())
    replaced: dict[nn.Module, nn.Sequential] = {}
    for parent in parts:
        for name, child in parent.named_children():
            if step_of_module(child) == "activation" and child is not parts[-1]:
                if child not in replaced:
                    replaced[child] = nn.Sequential(child, nn.Dropout(probability)).train(child.training)
                parent._modules[name] = replaced[child]
    if not replaced:
        raise ValueError("model has no activation module such as nn.ReLU() inside that dropout could follow")
    return copied
