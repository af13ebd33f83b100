"""A slow and careless meter, written independently: hooks on modules and tensors, everything kept, float64 by numpy."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Key = tuple[str, int]


def floats(output: Any) -> list[Tensor]:
    """All floating-point tensors in a nested output, each once."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() or output.is_complex() else []
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = list(output)
    elif is_dataclass(output):
        parts = [getattr(output, f.name) for f in fields(output)]
    else:
        parts = []
    return list({id(t): t for part in parts for t in floats(part)}.values())


def array(x: Tensor) -> np.ndarray:
    x = x.detach()
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.to(torch.float64).numpy().copy()


class Reference:
    """Rows of everything, step by step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, dict[Any, float]]] = []
        self.alive: dict[Key, np.ndarray] = {}
        self.values: dict[Key, list[np.ndarray]] = {}
        self.gradients: dict[Key, list[np.ndarray]] = {}
        self.calls: dict[int, int] = {}
        self.before: dict[str, np.ndarray] = {}
        self.parameter_gradients: dict[str, np.ndarray] = {}


def reference_watch(meters: list[Any]) -> Any:
    """A stand-in for ``watch`` that records with a `Reference`."""

    @contextlib.contextmanager
    def watching(model: nn.Module, optimizer: Any) -> Iterator[Reference]:
        ref = Reference()
        meters.append(ref)
        first = optimizer[0] if isinstance(optimizer, (list, tuple)) else optimizer
        optimizers = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
        state = {"depth": 0, "active": False}
        handles: list[Any] = []
        hooked: set[int] = set()
        leaves: dict[tuple[Key, int], Any] = {}

        def visit() -> None:
            for name, module in model.named_modules():
                if id(module) in hooked:
                    continue
                hooked.add(id(module))
                if not list(module.children()) or any(p is not None for p in module._parameters.values()):
                    handles.append(module.register_forward_hook(record(name, module)))

        def arrived(key: Key, gradient: Tensor) -> None:
            ref.gradients.setdefault(key, []).append(array(gradient))
            if not state["depth"]:
                ref.calls.clear()

        def record(name: str, module: nn.Module) -> Any:
            def hook(_: nn.Module, args: Any, output: Any) -> None:
                if torch._C._current_graph_task_id() != -1 or torch.is_inference_mode_enabled() or not model.training:
                    return
                if torch._C._get_tracing_state() is not None:
                    return
                call = ref.calls.get(id(module), 0)
                ref.calls[id(module)] = call + 1
                key = name, call
                for x in floats(output):
                    ref.values.setdefault(key, []).append(array(x))
                    if x.requires_grad and (key, id(x)) not in leaves:
                        handle = x.register_hook(lambda g: arrived(key, g))
                        if x.is_leaf:  # it outlives the step
                            leaves[key, id(x)] = handle

            return hook

        def begin(module: nn.Module, args: Any) -> None:
            if torch._C._current_graph_task_id() != -1:
                return
            visit()
            if state["depth"] == 0:
                ref.calls.clear()
            state["depth"] += 1
            if not ref.before:
                snapshot()

        def end(*_: Any) -> None:
            if torch._C._current_graph_task_id() == -1:
                state["depth"] -= 1

        def snapshot() -> None:
            for name, p in model.named_parameters():
                if not torch.nn.parameter.is_lazy(p):
                    ref.before[name] = array(p)

        def stepping(stepped: Any, args: Any, kwargs: Any) -> None:
            if not ref.before:
                snapshot()
            ours = {id(p) for group in stepped.param_groups for p in group["params"]}
            for name, p in model.named_parameters():
                if id(p) in ours and p.grad is not None:
                    ref.parameter_gradients[name] = array(p.grad.to_dense())

        def stepped(*_: Any) -> None:
            close()

        def close() -> None:
            row: dict[str, dict[Any, float]] = {
                n: {} for n in ("mean", "std", "zeros", "gradient", "parameter_gradient", "weight", "ratio")
            }
            for key, parts in ref.values.items():
                x = np.concatenate([p.ravel() for p in parts])
                if x.size:
                    row["mean"][key], row["std"][key], row["zeros"][key] = x.mean(), x.std(), (x == 0).mean()
            for key, parts in ref.gradients.items():
                row["gradient"][key] = float(np.sqrt(sum((p**2).sum() for p in parts)))
            for name, p in model.named_parameters():
                if name not in ref.parameter_gradients and p.grad is not None:
                    ref.parameter_gradients[name] = array(p.grad.to_dense())
                if name in ref.before:
                    w = ref.before[name]
                    row["weight"][name] = float(np.linalg.norm(w))
                    change = float(np.linalg.norm(array(p) - w))
                    if row["weight"][name] or change:
                        with np.errstate(divide="ignore"):
                            row["ratio"][name] = float(np.float64(change) / row["weight"][name])
            for name, g in ref.parameter_gradients.items():
                row["parameter_gradient"][name] = float(np.linalg.norm(g))
            ref.rows.append(row)
            for handle in leaves.values():
                handle.remove()
            leaves.clear()
            ref.values, ref.gradients, ref.before, ref.parameter_gradients = {}, {}, {}, {}

        visit()
        handles += [model.register_forward_pre_hook(begin), model.register_forward_hook(end, always_call=True)]
        handles += [o.register_step_pre_hook(stepping) for o in optimizers]
        handles.append(first.register_step_post_hook(stepped))
        yield ref
        for handle in handles:
            handle.remove()

    return watching
