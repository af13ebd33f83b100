"""What kind of op an ATen function is, read from its schema and tags."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

FILLS = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"),
    "new_empty_strided",
}
"""Ops whose result does not depend on the numbers of their arguments."""

READS_DATA = {"_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "unique_dim"} | {
    *("repeat_interleave.Tensor", "is_nonzero", "equal", "bincount", "_assert_async", "_ctc_loss"),
}
"""Ops whose result is a Python number, or whose shape depends on numbers."""

RANDOM = {
    *("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal", "poisson", "exponential"),
    *("rand_like", "randn_like", "randint_like", "uniform", "random", "cauchy", "log_normal", "geometric"),
    *("binomial", "_sample_dirichlet", "_standard_gamma", "rrelu_with_noise", "native_dropout"),
}


@dataclass(frozen=True)
class Operation:
    """``writes``: positions of arguments written to; ``functional`` and ``functional_func``: the name of the op without
    the writing, and its function; ``views``: the result shares memory with the first tensor; ``fills``: the result does
    not depend on the numbers of its arguments; ``reads_data``: it hands out numbers, or a shape that depends on them;
    ``outs``: the names of keywords that it writes to."""

    name: str
    functional: str
    functional_func: Any
    views: bool
    writes: tuple[int, ...]
    random: bool
    fills: bool
    reads_data: bool
    num_results: int
    outs: tuple[str, ...]


@lru_cache(maxsize=4096)
def operation(func: Any) -> Operation:
    """The kind of an ATen function."""
    schema = func._schema
    name = schema.name.split("::")[-1]
    if not schema.name.startswith("aten::"):
        name = schema.name
    writes = tuple(
        index
        for index, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    random = torch.Tag.nondeterministic_seeded in func.tags
    functional = name[:-1] if writes and name.endswith("_") and not name.endswith("__") else name
    if name in ("__iadd__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"):
        functional = name.replace("__i", "__")
    if random and writes == (0,):
        # It fills its argument without reading it.
        functional = "fill_random"
    shares = any(item.alias_info is not None and not item.alias_info.is_write for item in schema.returns)
    tags = func.tags
    return Operation(
        name=name,
        functional=functional,
        functional_func=_functional_func(func, functional, writes),
        views=shares and not writes and name != "lift_fresh",
        writes=writes,
        random=random or functional in RANDOM,
        fills=name in FILLS,
        reads_data=name in READS_DATA
        or f"{name}.{func._overloadname}" in READS_DATA
        or torch.Tag.data_dependent_output in tags
        or torch.Tag.dynamic_output_shape in tags,
        num_results=len(schema.returns),
        outs=tuple(schema.arguments[index].name for index in writes if schema.arguments[index].kwarg_only),
    )


def _functional_func(func: Any, name: str, writes: tuple[int, ...]) -> Any:
    """The function that does the same and returns a new tensor; None if there is none."""
    if not writes:
        return func
    arguments = func._schema.arguments
    wanted = [item.name for index, item in enumerate(arguments) if index not in writes or not item.kwarg_only]
    expected = [str(arguments[index].type) for index in range(len(arguments)) if arguments[index].name in wanted]
    packet = getattr(torch.ops.aten, name, None)
    for overload in packet.overloads() if packet is not None else ():
        other = getattr(packet, overload)
        same = [item.name for item in other._schema.arguments] == wanted
        kinds = [str(item.type) for item in other._schema.arguments] == expected
        if same and kinds and all(item.alias_info is None for item in other._schema.arguments):
            return other
    return None
