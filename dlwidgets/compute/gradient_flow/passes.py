"""What happens between the beginning and the end of a sampled step: forward passes, and gradients on their way back."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import observe
from .activations import Activations, tensors_in
from .arrival import Arrival, Behind, View
from .history import History
from .result import Position
from .sample import Sample
from .shares import Call, listen
from .sites import Site, Sites, passes_on
from .statistics import Moments

#: So many forwards without a backward pass are held ready for one that finds more shared parameters.
UNANSWERED = 4


class Passes:
    """The forward hooks of the meter and what they set up for the way back.

    ``begins`` is called before each training-mode forward of the whole model, and may end the sample. ``guard`` makes a
    function that may be called by torch of one that may fail.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sites,
        history: History,
        begins: Callable[[], None],
        guard: Callable[[Callable[..., None]], Callable[..., None]],
    ) -> None:
        self.sample: Sample | None = None
        self.activations = Activations()
        self.forward_seen = False
        self.late = False  # gradients arrive in a later step than their forward's
        self.outside_used = False  # somebody calls parts of the model by themselves
        self._model, self._sites, self._history, self._begins = model, sites, history, begins
        self._handles: list[Any] = []
        self._num_alive = 0  # handles that were when somebody looked
        self._depth = 0  # of calls of the model inside each other
        self._training = False  # whether the forward under way is watched
        self._outside = False  # whether calls outside the model's own forward are being collected
        self._graded = True  # whether the forward under way builds a graph
        self._number = 0  # of the forward under way
        self._first = 0  # number of the first forward of the sample
        self._moments = Moments()
        self._clones: dict[int, Tensor] = {}  # inputs that an in-place activation is about to overwrite
        self._views: list[Behind] = []  # outputs that may have been overwritten
        self._leaves: dict[tuple[int, Any], Arrival] = {}  # outputs that outlive the step: parameters, inputs
        self._users: dict[int, list[Call]] = {}  # of parameters
        self._forgotten: set[int] = set()  # parameters with users that are not known any longer
        self._num_unanswered = 0  # forwards since the last backward pass
        self._shared: set[int] = set()  # parameters that several positions use
        self._following = False  # whether the outputs of all calls are registered, for their sake
        self._calls: list[tuple[Site, Call]] = []  # those of this forward, until then
        self._order = 0  # of the last call that has ended
        self._mark = object()  # of the notes that are ours
        self._recomputed_calls: dict[tuple[int, int, str], int] = {}  # how many, by backward pass, segment and module
        self._backward: Callable[[], None] | None = None
        self._gather = guard(View.add)
        self._deliver = guard(self._arrived)
        self._take = guard(self._contributed)
        self._num_calls = 0
        self._num_arrivals = 0

    def open(self, sample: Sample, backward: Callable[[], None] | None) -> None:
        """Everything from now on belongs to ``sample``; ``backward`` is called whenever a gradient arrives."""
        self.sample = sample
        self._backward = backward
        self._depth, self._training, self._outside = 0, False, False
        self.forward_seen = False
        self._first = self._number + 1
        self._recomputed_calls = {}
        self._follow_anew()
        self._drop_dead_handles()

    def _drop_dead_handles(self) -> None:
        self._handles = [handle for handle in self._handles if handle.hooks_dict_ref() is not None]
        self._num_alive = len(self._handles)

    def close(self) -> None:
        """The sample has ended: sum up what waits."""
        if self._outside:
            self.activations.flush()
        self.sample = None
        self._follow_anew()

    def _follow_anew(self) -> None:
        self._users, self._calls, self._following, self._views = {}, [], bool(self._shared), []
        self._forgotten, self._num_unanswered = set(), 0

    def counted(self) -> tuple[int, int]:
        """How many module calls and arriving gradients there were since the last time."""
        counts = self._num_calls, self._num_arrivals
        self._num_calls = self._num_arrivals = 0
        return counts

    def leave(self) -> None:
        """Nothing is sampled for a while: remove what is left in graphs."""
        observe.remove(self._handles)
        self._handles, self._leaves = [], {}

    def release(self) -> None:
        """Remove what is left in graphs and give memory back."""
        self.leave()
        self.activations.forget()
        self.sample = None
        self._clones = {}
        self._follow_anew()

    def restart(self) -> None:
        """The sample starts over with the next forward."""
        self._first = self._number + 1
        self._follow_anew()
        self._outside = False

    # ------------------------------------------------------------------- forwards

    def before(self, module: nn.Module, args: Any) -> None:
        """Before every forward of every module in the process."""
        if module is self._model:
            self._num_calls += 1
            if torch._C._current_graph_task_id() == -1:
                self.root_begins()
        elif self._watching(module):
            site = self._sites.by_id[id(module)]
            if site.container:
                self._begin(site)
                site.began.append(self._order)
            elif args and isinstance(args[0], Tensor):
                self._clones[id(module)] = args[0].detach().clone()

    def interested(self, before: Callable[[nn.Module, Any], None]) -> Callable[[nn.Module, Any], None]:
        """``before``, called only for the few modules that it is about."""
        model, sites = self._model, self._sites

        def hook(module: nn.Module, args: Any) -> None:
            if module is model or (sites.openers and id(module) in sites.openers):
                before(module, args)

        return hook

    def root_begins(self) -> None:
        """A forward of the whole model begins."""
        if self._depth and observe.forwards_under_way(self._model) < 2:
            self._depth = 0  # the last one did not come to its end, and torch told nobody: it was interrupted
        if self._depth == 0:
            self._training = False
            if self._model.training and ordinary():
                if self._outside:
                    self.activations.flush()
                    self._outside = False
                if self._sites.refresh():
                    self.activations.lively.clear()
                self._begins()
                if self.sample is None:
                    return
                self._training = True
                self._new_forward()
        self._depth += 1

    def _new_forward(self) -> None:
        assert self.sample is not None
        self._number += 1
        self.forward_seen = True
        self._graded = torch.is_grad_enabled() or bool(observe.segments()[0])
        self._forgotten.update(id(p) for site, _ in self._calls for p in site.parameters)
        self._calls, self._views = [], []
        self._num_unanswered += 1
        if self._num_unanswered > UNANSWERED:
            self._let_graphs_go()
        self._moments = Moments()
        self.activations.begin(self._moments, self.sample.transfer)

    def _let_graphs_go(self) -> None:
        """Of many forwards that no backward pass has followed most never will be: their graphs should be free."""
        assert self.sample is not None
        self._num_unanswered = 0
        self.sample.graph.let_nodes_go()
        self._forgotten.update(self._users)
        self._users = {}
        if len(self._handles) > 2 * self._num_alive:
            self._drop_dead_handles()

    def _root_ends(self, output: Any) -> None:
        self._depth = max(self._depth - 1, 0)
        if self._depth == 0 and self._training:
            self._training = False
            self._find_overwritten(last=False)
            failed = output is None and sys.exc_info()[0] is not None
            if not failed and self.sample is not None:
                self.activations.flush()
                self.sample.forward_ended(self._moments)

    def _watching(self, module: nn.Module) -> bool:
        """Whether a call of ``module`` counts now, outside the backward pass."""
        if self._depth:
            return self._training
        return module.training and ordinary()

    def after(self, module: nn.Module, args: Any, *rest: Any) -> None:
        """After every forward of every module in the process; ``rest``: kwargs, if it did not raise, and the output."""
        output = rest[-1]
        if not args and rest[0] and len(rest) == 2:
            args = tuple(rest[0].values())
        site = self._sites.by_id.get(id(module))
        if site is not None:
            self._num_calls += 1
            if torch._C._current_graph_task_id() != -1:
                self._recomputed(site, output)
            elif self._watching(module):
                if type(output) is Tensor:
                    self._called(site, args, output)
                else:
                    with observe.isolated():  # there may be tensors of somebody's own class among them
                        self._called(site, args, output)
        elif id(module) not in self._sites.known and self._depth and self._training:
            self._replaced(module, args, output)
        if module is self._model and torch._C._current_graph_task_id() == -1:
            self._root_ends(output)

    def _replaced(self, module: nn.Module, args: Any, output: Any) -> None:
        # Somebody put a new module in since the sample began - or it is not part of the model at all.
        if self._sites.refresh() and id(module) in self._sites.by_id:
            self._called(self._sites.by_id[id(module)], args, output)

    def _called(self, site: Site, args: Any, output: Any) -> None:
        sample = self.sample
        if sample is None:
            return
        if not self._depth and not self._outside:
            self.outside_used = True
            self._begins()
            sample = self.sample
            if sample is None:
                return
            self._new_forward()
            self._outside = True
            sample.forward_ended(self._moments)
        self._begin(site)
        call = site.calls
        site.calls = call + 1
        if call == len(site.positions):
            rule = site.saturation
            where = Position(site.name, call, type(site.module).__name__)  # a lazy module has become another
            site.positions.append(
                self._history.position(
                    where, rule is not None, rule is not None and rule.resting, passes_on(site.module)
                )
            )
        position = site.positions[call]
        plain = type(output) is Tensor and output.is_floating_point() and output.layout is torch.strided
        outputs = (output,) if plain and output.dtype.itemsize > 1 and not output.is_nested else tensors_in(output)
        nodes: list[Any] = []
        for x in outputs:
            if x.requires_grad:
                nodes.append(self._hook(position, x, self._number))
            if sample.kept:
                self.activations.add(position, site, x.detach())
        since = site.began.pop() if site.began else sys.maxsize
        if nodes:
            self._order += 1
            self._track(site, Call(position, nodes, _nodes_of(args), self._order, since + 1))
        elif self._graded and not torch.is_grad_enabled():
            self._called_without_graph(site, position)
        rule = site.saturation
        if rule is not None and rule.of_input and sample.kept:
            entered = self._clones.pop(id(site.module), None)
            if entered is None and args and isinstance(args[0], Tensor):
                entered = args[0].detach()
            if entered is not None and entered.is_floating_point() and not self._overwritten(site, args, entered):
                self.activations.add_input(position, rule, entered)
            else:
                self.activations.add_unknown(position)

    def _begin(self, site: Site) -> None:
        if site.forward != self._number:
            site.forward, site.calls = self._number, 0
            site.began.clear()

    @staticmethod
    def _overwritten(site: Site, args: Any, entered: Tensor) -> bool:
        """Whether what entered is gone: the module worked in place, and no hook could see its keywords before."""
        return site.clone_input and entered.data_ptr() == args[0].data_ptr()

    # ------------------------------------------------------------------- the way back

    def _hook(self, position: int, x: Tensor, forward: int) -> Any:
        node = observe.graph_node(x)
        if x.grad_fn is None and (position, node) in self._leaves:
            self._leaves[position, node].forward = forward
            return node
        arrival = Arrival(self._deliver, position, forward, x)
        self._handles.append(observe.on_gradient(node, arrival))
        if x._is_view():
            behind = arrival.behind(x, self._gather)
            if behind is not None:
                self._handles.append(observe.on_gradient(behind.node, arrival.from_base))
                self._views.append(behind)
        if x.grad_fn is None:
            self._leaves[position, node] = arrival  # the node would not outlive this function otherwise
        return node

    def _find_overwritten(self, last: bool) -> None:
        """Listen at the nodes that have overwritten outputs; ``last``: before they are reached."""
        waiting, self._views = self._views, []
        for behind in waiting:
            splice = behind.splice()
            if splice is not None:
                self._handles.append(observe.on_node(splice[0], behind.arrival.from_splice(splice[1])))
            elif not last:
                self._views.append(behind)

    def _arrived(self, arrival: Arrival, gradient: Tensor) -> None:
        sample = self.sample
        if sample is None:
            self.late = True
            return
        if arrival.forward < self._first:
            self.late = True
        self._num_arrivals += 1
        self._num_unanswered = 0
        if self._views:
            self._find_overwritten(last=True)
        if self._outside:
            self.activations.flush()
            self._outside = False
        if self._backward is not None:
            self._backward()
        sample.arrived(arrival.position, gradient)

    def _contributed(self, key: tuple[int, int], order: int, gradient: Tensor) -> None:
        if self.sample is not None:
            self.sample.contributed(key, order, gradient)

    def _track(self, site: Site, call: Call) -> None:
        """Find parameters that several positions use, and tap what each of these contributes.

        The walk back from a call's output ends at those of others, so these are registered from the first call on as
        soon as anything is shared; until then the calls of a forward are only kept.
        """
        if self._following:
            assert self.sample is not None
            self.sample.graph.register(call)
            self._tap_shared(site, call)
        else:
            self._calls.append((site, call))
            if site.tied or (site.calls > 1 and site.parameters):
                self._follow()

    def _follow(self) -> None:
        """From now on every call is registered; those of this forward so far are, too."""
        assert self.sample is not None
        self._following = True
        calls, self._calls = self._calls, []
        for _, call in calls:
            self.sample.graph.register(call)
        for site, call in calls:
            self._tap_shared(site, call)

    def _tap_shared(self, site: Site, call: Call) -> None:
        wanted: set[int] = set()
        for parameter in site.parameters:
            identity = id(parameter)
            users = self._users.setdefault(identity, [])
            if identity not in self._shared and any(other.position != call.position for other in users):
                self._share(identity)
            if identity in self._shared:
                wanted.add(identity)
            users.append(call)
        if wanted:
            self._tap(call, wanted)

    def _share(self, identity: int) -> None:
        """A parameter turns out to be a shared one: tap its calls so far."""
        assert self.sample is not None
        self._shared.add(identity)
        if identity in self._forgotten:
            self.sample.graph.unsplit.add(identity)
        for call in self._users.get(identity, []):
            self._tap(call, {identity})

    def _tap(self, call: Call, parameters: set[int]) -> None:
        assert self.sample is not None
        for tap in self.sample.graph.taps_of(call, parameters):
            self._handles.append(observe.on_node(tap.node, listen(tap, self._take)))

    # ------------------------------------------------------------------- recomputation

    # With reentrant checkpointing the first computation of a segment builds no graph, and the gradients arrive at the
    # recomputed outputs. Which call of a module is which is noted at the node that stands for the segment. With other
    # checkpointing they arrive where they always do, and there is nothing to see.

    def _called_without_graph(self, site: Site, position: int) -> None:
        """In a forward that is to be followed by a backward pass: note the call at the segments that it is part of."""
        for segment in observe.segments()[0]:
            self._notes(segment, site).append((position, self._number))
        if site.calls > 1 and site.parameters:
            for parameter in site.parameters:
                if id(parameter) not in self._shared:
                    self._share(id(parameter))
            if not self._following:
                self._follow()

    def _notes(self, segment: Any, site: Site) -> list[tuple[int, int]]:
        """The calls of a module in a segment, in order: position and number of the forward."""
        everything: dict[Any, list[tuple[int, int]]] = vars(segment).setdefault("dlwidgets_gradient_flow", {})
        return everything.setdefault((self._mark, site.name), [])

    def _recomputed(self, site: Site, output: Any) -> None:
        """A module called within a backward pass: checkpointing computes once more what it has thrown away."""
        if self.sample is None:
            return
        inside, segment = observe.segments()
        notes = [] if segment is None else self._notes(segment, site)
        key = torch._C._current_graph_task_id(), id(segment), site.name
        number = self._recomputed_calls.get(key, 0)
        if number >= len(notes):
            return
        self._recomputed_calls[key] = number + 1
        for deeper in inside:
            self._notes(deeper, site).append(notes[number])
        if not torch.is_grad_enabled():
            return
        position, forward = notes[number]
        nodes = [self._hook(position, x, forward) for x in tensors_in(output) if x.requires_grad]
        if nodes and site.parameters:
            self._order += 1
            self._track(site, Call(position, nodes, set(), self._order, sys.maxsize))


def _nodes_of(args: Any) -> set[Any]:
    """The nodes of the graph behind what enters a call."""
    plain = len(args) == 1 and isinstance(args[0], Tensor)
    return {x.grad_fn for x in (args if plain else tensors_in(args)) if x.grad_fn is not None}


def ordinary() -> bool:
    """Whether a forward here is one of training: not traced, not in inference mode, not inside a transform."""
    return not (
        torch._C._get_tracing_state() is not None
        or torch.is_inference_mode_enabled()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.compiler.is_compiling()
    )
