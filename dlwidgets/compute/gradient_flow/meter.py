"""The meter: follows somebody else's training loop from the outside and samples some of its steps."""

import contextlib
import numbers
import operator
import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from .history import History
from .result import GradientFlow
from .rhythm import Overhead, Rhythm
from .steps import Steps
from .verdicts import Thresholds

#: What is attached to a model now, by the model's identity: at most one meter each.
_attached: dict[int, Steps] = {}


class Meter:
    """Watches the gradients of ``model`` while somebody trains it; made by `watch`.

    Use it as a context manager, or call `attach` and `detach` (from the callbacks of a ``fit()``, say). `result` may
    be called at any time and from any thread. Attaching again begins a new record. A meter that nobody remembers any
    more, as when a notebook's cell is run again, lets go of its model.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: tuple[torch.optim.Optimizer, ...],
        budget: float,
        every: int | None,
        thresholds: Thresholds,
    ) -> None:
        self.model = model
        self._optimizers = optimizers
        self._budget, self._every, self._thresholds = budget, every, thresholds
        self._steps = self._new_record()
        self._forgotten: Any = None

    def __enter__(self) -> "Meter":
        """Attach."""
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.detach()

    def attach(self) -> None:
        """Begin to watch, with an empty record. A meter that is still attached to this model is detached, with a
        notice.
        """
        other = _attached.pop(id(self.model), None)
        if other is not None and other.running:
            other.stop()
            warnings.warn(
                f"this {type(self.model).__name__} was already being watched: the new meter replaces the one "
                "attached before, whose result stays as it is",
                UserWarning,
                stacklevel=3,
            )
        self._steps = self._new_record()
        self._steps.start()
        _attached[id(self.model)] = self._steps
        self._forgotten = weakref.finalize(self, _let_go, self._steps, id(self.model))
        self._forgotten.atexit = False

    def detach(self) -> None:
        """Stop watching: afterwards no hook is left anywhere. Detaching twice does nothing."""
        if not self.attached:
            return
        self._forgotten()
        if self.failure is not None:
            warnings.warn(self.failure, UserWarning, stacklevel=3)

    @property
    def attached(self) -> bool:
        """Whether the meter is watching now."""
        return self._steps.running

    @property
    def failure(self) -> str | None:
        """Why the meter let go of the model by itself, None if it did not."""
        return self._steps.failure

    @property
    def revision(self) -> int:
        """A number that changes whenever `result` has something new to say; cheap to ask, from any thread."""
        return self._steps.history.revision

    @property
    def overhead(self) -> Overhead:
        """What the meter has taken so far; see `GradientFlow.overhead`."""
        return self._steps.rhythm.overhead()

    @property
    def num_steps(self) -> int:
        """How many steps have ended since the meter was attached, sampled or not."""
        return self._steps.num_ended

    def log(self, *, loss: float | Tensor) -> None:
        """Note the loss of the current step. It may be nan or infinite: that becomes a verdict, never an error.

        Raises
        ------
        TypeError
            If ``loss`` is neither a real number nor a real tensor.
        ValueError
            If it is a tensor with more or less than one element, or a whole number beyond the floats.
        """
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise ValueError(f"loss must be one number, got a tensor of shape {tuple(loss.shape)}")
            if loss.is_complex():
                raise TypeError(f"loss must be real, got a tensor of {loss.dtype}")
            value: float | Tensor = float(loss.detach()) if loss.device.type == "cpu" else loss.detach().clone()
        else:
            try:
                value = float(loss)
            except OverflowError:
                raise ValueError("loss must fit a float, got a whole number that is too large") from None
            except (TypeError, ValueError):
                raise TypeError(
                    f"loss must be a number or a tensor with one element, got {type(loss).__name__}"
                ) from None
        self._steps.log(value)

    def result(self) -> GradientFlow:
        """What has been seen so far; may be called inside the block, after it, and from another thread."""
        return self._steps.result()

    def _new_record(self) -> Steps:
        rhythm = Rhythm(self._budget, self._every)
        return Steps(self.model, self._optimizers, rhythm, History(self._thresholds))


def _let_go(steps: Steps, model: int) -> None:
    try:
        steps.stop()
    finally:
        if _attached.get(model) is steps:
            del _attached[model]


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Any = None,
    budget: float = 0.01,
    every: int | None = None,
    thresholds: Thresholds | None = None,
) -> Meter:
    """A meter that sees the gradients of ``model`` live and changes nothing in its training.

    ::

        with watch(model, optimizer) as flow:
            ...  # your own loop, unchanged
        g = flow.result()

    A step ends with the ``step()`` of the (first) optimizer; without any, with the next training-mode forward of the
    model after a backward pass. Training may go through compiled functions (what ``torch.compile`` made runs as plain
    Python in sampled steps), checkpointing, autocast, several optimizers or gradient accumulation. Forwards inside
    ``torch.func`` transforms, under ``torch.inference_mode`` and in eval mode are left alone.

    Without any optimizer, two forwards and backwards that somebody makes for one update, as in sharpness-aware
    minimisation by hand, are two steps.

    Without an optimizer a step is noticed by what gradients reach, also after parameters were frozen or replaced. Where
    they go on to come, but to fewer parameters than before, one step may be missed; in loops of less than a millisecond
    a step, those until somebody next asks the meter for anything.

    In a sampled step the graphs of the last few training forwards are held, also if nobody runs a backward pass.

    Parameters
    ----------
    model:
        The module that is trained. Positions are its leaves and the modules in it that have parameters of their own.
    optimizer:
        The optimizer of this model, several in a list, or None: then whatever optimizer steps this model's parameters
        is found when it does.
    budget:
        Share of the training time that the meter may take, above 0 and at most 1. Steps 0, 1, 3, 7, 15, 31 and 63 are
        always sampled. Counting steps takes about a microsecond each, without an optimizer 10 to 20: where that alone
        is above the budget, in loops of less than some 2 ms a step, no further step is sampled, and `Meter.overhead`
        says what is taken.
    every:
        Sample each k-th step instead, whatever it costs.
    thresholds:
        The limits that the verdicts use.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If an optimizer steps no parameter of ``model``, or ``budget`` or ``every`` is out of range.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    optimizers = _optimizers(model, optimizer)
    if isinstance(budget, bool) or not isinstance(budget, numbers.Real):
        raise TypeError(f"budget must be a number, got {type(budget).__name__}")
    if not 0 < budget <= 1:
        raise ValueError(f"budget must be a share of the training time, above 0 and at most 1, got {budget}")
    if every is not None:
        every = _whole(every)
        if every < 1:
            raise ValueError(f"every must be at least 1 step, got {every}")
    if thresholds is not None and not isinstance(thresholds, Thresholds):
        raise TypeError(f"thresholds must be a Thresholds, got {type(thresholds).__name__}")
    return Meter(model, optimizers, float(budget), every, thresholds or Thresholds())


def _whole(every: Any) -> int:
    if not isinstance(every, bool):
        with contextlib.suppress(TypeError):
            return operator.index(every)
    raise TypeError(f"every must be a whole number of steps, got {type(every).__name__}")


def _optimizers(model: nn.Module, given: Any) -> tuple[torch.optim.Optimizer, ...]:
    if given is None:
        return ()
    several = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not several:
        raise ValueError("optimizer must be an optimizer, several or None, got an empty sequence")
    ours = {id(p) for p in model.parameters()}
    for i, one in enumerate(several):
        name = "optimizer" if len(several) == 1 else f"optimizer[{i}]"
        if not isinstance(one, torch.optim.Optimizer):
            raise TypeError(f"{name} must be a torch.optim.Optimizer, several or None, got {type(one).__name__}")
        if not any(id(p) in ours for group in one.param_groups for p in group["params"]):
            raise ValueError(
                f"{name} ({type(one).__name__}) steps none of the parameters of this {type(model).__name__}: "
                "it belongs to another model"
            )
    return several
