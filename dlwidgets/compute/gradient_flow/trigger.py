"""What stays attached between samples: it counts steps, and asks only now and then whether a sample is due.

With an optimizer that is a hook behind its steps. Without one it is a hook before the model's next forward, and hooks
on parameters that tell whether a backward pass came before it. Of the parameters that gradients reach together two are
enough, one at either end; those that none has reached cost nothing, so they keep their hooks and tell when training
moves to them.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .. import observe
from .passes import ordinary
from .rhythm import Rhythm
from .sites import materialised

#: Of steps shorter than this many seconds the trigger skips so many before it looks at the clock again or, without an
#: optimizer, at the next forward even if no gradient comes.
FAST, SKIP = 1e-3, 15
#: About what torch takes for a hook on a parameter, and for one before a forward, in seconds.
ARRIVAL, ENTRY = 1.5e-6, 2e-6
TOLL = 2 * ARRIVAL + ENTRY
#: Parameters of which it is looked at each step whether the model still has them.
FOLLOWED = 4
#: How many times as long as hooking all parameters takes it waits at least before it does so again for want of any
#: gradient.
REST = 500


class Trigger:
    """Calls ``count`` for each step that ends while no sample can be due."""

    def __init__(self, rhythm: Rhythm, count: Callable[[], None]) -> None:
        self.armed = False
        self.backward_seen = False  # since the last forward, where that is what it waits for
        self._rhythm, self._count = rhythm, count
        self._compiling = False  # whether anything could have been compiled when it was armed
        self._few = False
        self._find: Callable[[], dict[str, Any]] = dict
        self._model: nn.Module | None = None
        self._leaves, self._substitutes = observe.LeafHooks(), observe.LeafHooks()
        self._parameters: dict[str, Any] = {}
        self._trained: list[bool] = []  # which of them require gradients
        self._complete = False  # whether all of these have hooks
        self._silent: dict[int, str] = {}  # names of those that no gradient has reached, by identity
        self._heard: dict[int, None] = {}  # of these, those that one has reached just now, in order
        self._followed: list[Any] = []  # some of those that have hooks still
        self._places: list[tuple[Any, str, Any]] = []  # where these are to be found
        self._rested = 0.0
        self._switch: observe.ForwardSwitch | None = None
        self._exit: Any = None

    def lasts(self) -> bool:
        """Whether it is armed, and as well as it could be now."""
        return self.armed and self._compiling == observe.compiling()

    def disarm(self) -> None:
        """Remove whatever is attached."""
        self.armed = self.backward_seen = False
        switch, self._switch, self._exit = self._switch, None, None
        if switch is not None:
            switch.remove()
        self._leaves.remove()
        self._substitutes.remove()
        self._parameters, self._silent, self._heard, self._followed, self._places = {}, {}, {}, [], []
        self._find, self._model = dict, None

    def after_steps(self, leader: torch.optim.Optimizer | None, passed: Callable[..., None]) -> Callable[..., None]:
        """The hook behind optimizers' steps. ``passed`` is called with its arguments where more is to be asked than
        the time: a sample may be due, or this is not the ``leader``.

        It is part of every step, so most are only counted, and of fast ones few are timed.
        """
        self.armed, self._compiling = True, observe.compiling()
        rhythm, clock, compiling, count = self._rhythm, self._rhythm.clock, observe.compiling, self._count
        last, skip, skipped = clock(), 0, 0
        if leader is not None and observe.nests(leader):
            leader = None
        leads = None if leader is None else id(leader)

        def hook(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            nonlocal last, skip, skipped
            began = clock() if skipped >= skip else 0.0
            if id(optimizer) == leads and compiling() is self._compiling:
                if not began:
                    skipped += 1
                    count()
                    return
                if began < rhythm.not_before:
                    rhythm.spent += (clock() - began) * skipped  # about what one that is skipped takes
                    count()
                    skip, last = SKIP if began - last < FAST * (skipped + 1) else 0, began
                    skipped = 0
                    rhythm.spent += clock() - began
                    return
            skipped = 0
            passed(optimizer, args, kwargs)

        return observe.opaque(hook)

    def before_forwards(
        self,
        model: nn.Module,
        is_part: Callable[[int], bool],
        find: Callable[[], dict[str, Any]],
        passed: Callable[[nn.Module, Any], None],
        few: bool,
    ) -> None:
        """Wait for a backward pass, and then for the next forward.

        ``find`` gives the parameters of the model as it is now. Not ``few``: all of them have hooks, for the cost does
        not matter. ``passed`` is called with module and arguments at each forward where more is to be asked than the
        time, and of modules of whose identity ``is_part`` says that somebody calls them by themselves.
        """
        self.armed, self.backward_seen, self._compiling = True, False, observe.compiling()
        self._model, self._find, self._few = model, find, few
        self._switch = observe.ForwardSwitch(observe.opaque(self._hook(model, is_part, passed)))
        self._listen()
        self.entered()

    def _hook(
        self, model: nn.Module, is_part: Callable[[int], bool], passed: Callable[[nn.Module, Any], None]
    ) -> Callable[[nn.Module, Any], None]:
        """The hook before forwards. It is part of every step, and so spares itself what calls it can."""
        rhythm, clock, count = self._rhythm, self._rhythm.clock, self._count
        task, left, at_end_of_call = torch._C._current_graph_task_id, self._left, observe.at_end_of_call
        loaded = sys.modules
        dynamo = loaded.get("torch._dynamo") if self._compiling else None
        last, turn = clock(), 0

        def forward(module: nn.Module, args: Any) -> None:
            nonlocal last, turn
            if module is not model:
                if is_part(id(module)):
                    passed(module, args)
                return
            began = clock()
            if (
                self.backward_seen
                and began < rhythm.not_before
                and model.training
                and loaded.get("torch._dynamo") is dynamo
                and task() == -1
                and self._settled()
                and ordinary()
            ):
                self.backward_seen = False
                count()
                turn += 1
                if began - last >= FAST or turn > SKIP:
                    self._exit, turn = at_end_of_call(left), 0
                last = began
                if self._switch is not None:
                    self._switch.remove()
                rhythm.spent += 2 * (clock() - began) + TOLL
            else:
                passed(module, args)

        return forward

    def forward_seen(self) -> None:
        """Wait for the next backward pass."""
        self.backward_seen = False
        if self._switch is not None:
            self._switch.remove()

    def entered(self) -> None:
        """A forward begins. The next one will be seen whether or not a gradient comes; the modules inside this one run
        at full speed.
        """
        switch = self._switch
        if switch is not None:
            self._exit = observe.at_end_of_call(self._left)
            if self._exit is not None:
                switch.remove()

    def awake(self) -> None:
        """Look at the next forward, even if no gradient comes; from any thread."""
        self._left()

    def _left(self, _: Any = None) -> None:
        switch = self._switch
        if switch is not None:
            switch.on()

    # ------------------------------------------------------------------- which parameters have hooks

    def _arrives(self, gradient: Tensor) -> None:
        del gradient
        if not self.backward_seen:  # the first of a backward pass is enough, and the others should cost nothing
            self.backward_seen = True
            switch = self._switch
            if switch is not None and not switch.is_on:
                switch.on()

    def _settled(self) -> bool:
        """Whether the model still has the parameters that tell, and no others have told."""
        if self._heard or not self._followed:
            return False
        for table, key, item in self._places:
            if table.get(key) is not item:
                return False
        for parameter in self._followed:  # noqa: SIM110 (a generator takes longer)
            if not parameter.requires_grad:
                return False
        return True

    def adapt(self) -> None:
        """After a step: choose anew where that is called for."""
        if not self.armed:
            return
        if observe.stand_ins():
            self._listen_to_stand_ins()
        elif not self._few:
            self._look()
        elif self._heard:
            self._choose()
        elif not self._settled():
            self._listen()

    def seek(self) -> None:
        """A forward without a gradient since the last one: may gradients come where nothing is attached?"""
        if observe.stand_ins():
            self._listen_to_stand_ins()
        elif self._rhythm.clock() >= self._rested:
            began = self._rhythm.clock()
            self._look()
            now = self._rhythm.clock()
            self._rested = now + REST * (now - began)
        elif self._complete and self._trained != [p.requires_grad for p in self._parameters.values()]:
            self._listen()

    def _look(self) -> None:
        """Hook everything, if it is not."""
        parameters = self._find()
        if not (
            self._complete
            and list(map(id, parameters.values())) == list(map(id, self._parameters.values()))
            and self._trained == [p.requires_grad for p in parameters.values()]
        ):
            self._listen()

    def _listen(self) -> None:
        """Hook all parameters that gradients could reach."""
        self._leaves.remove()
        self._parameters = dict(self._find())
        self._trained = [p.requires_grad for p in self._parameters.values()]
        self._silent, self._heard, self._followed, self._places = {}, {}, [], []
        for name, p in self._parameters.items():
            if p.requires_grad and p.is_leaf and materialised(p):
                self._silent[id(p)] = name
                self._leaves.add(p, self._hears(id(p)) if self._few else self._arrives)
        self._complete = True
        if observe.stand_ins():
            self._listen_to_stand_ins()

    def _hears(self, key: int) -> Callable[[Tensor], None]:
        heard, arrives = self._heard, self._arrives

        def hears(gradient: Tensor) -> None:
            heard[key] = None
            arrives(gradient)

        return hears

    def _choose(self) -> None:
        """Of the parameters that gradients have just reached together keep the hooks on the first and the last."""
        names = {key: self._silent.pop(key) for key in list(self._heard)}
        ends = [self._parameters[names[key]] for key in dict.fromkeys([next(iter(names)), next(reversed(names))])]
        self._rhythm.spent += ARRIVAL * len(names)
        self._heard.clear()
        self._leaves.remove([self._parameters[name] for name in names.values()])
        for p in ends:
            self._leaves.add(p, self._arrives)
        self._complete = False
        self._followed = [*self._followed, *ends][-FOLLOWED:]
        followed = set(map(id, self._followed))
        places: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        for name, p in self._parameters.items():
            if id(p) in followed:
                places.update(_places(self._model, name))
        self._places = list(places.values())

    def _listen_to_stand_ins(self) -> None:
        """Other tensors are in the place of the parameters for this forward: hook some of these."""
        assert self._model is not None
        self._substitutes.remove()
        there = [p for p in self._model.parameters() if p.requires_grad]
        for p in {id(p): p for p in (there[:1] + there[len(there) // 2 :][:1] + there[-1:])}.values():
            self._substitutes.add(p, self._arrives)


def _places(model: Any, name: str) -> Iterator[tuple[tuple[int, str], tuple[Any, str, Any]]]:
    """On the way from ``model`` to the parameter ``name``: the tables, the keys in them and what is there."""
    *path, last = name.split(".")
    module = model
    for key, table in [*((key, "_modules") for key in path), (last, "_parameters")]:
        entries = getattr(module, table)
        if not isinstance(entries, dict):
            return  # a scripted module keeps its own elsewhere
        module = entries[key]
        yield (id(entries), key), (entries, key, module)
