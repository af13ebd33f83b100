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
    """``writes``: positions of arguments written to; ``functional``: the name of the op without the writing;
    ``views``: the result shares memory with the first tensor; ``pointwise``: position by position, with broadcasting."""

    name: str
    functional: str
    views: bool
    writes: tuple[int, ...]
    random: bool
    fills: bool
    reads_data: bool
    pointwise: bool
    num_results: int


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
    functional = name[:-1] if writes and name.endswith("_") and not name.endswith("__") else name
    if name in ("__iadd__", "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"):
        functional = name.replace("__i", "__")
    shares = any(item.alias_info is not None and not item.alias_info.is_write for item in schema.returns)
    tags = func.tags
    return Operation(
        name=name,
        functional=functional,
        views=shares and not writes and name != "lift_fresh",
        writes=writes,
        random=torch.Tag.nondeterministic_seeded in tags or functional in RANDOM,
        fills=name in FILLS,
        reads_data=name in READS_DATA
        or f"{name}.{func._overloadname}" in READS_DATA
        or torch.Tag.data_dependent_output in tags
        or torch.Tag.dynamic_output_shape in tags,
        pointwise=torch.Tag.pointwise in tags,
        num_results=len(schema.returns),
    )
