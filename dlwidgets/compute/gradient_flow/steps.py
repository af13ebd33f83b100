"""Where one step ends and the next begins, and what is attached meanwhile.

In a sampled step everything is attached, between samples a `Trigger`.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .. import observe
from .history import History
from .norms import Norms
from .passes import Passes, ordinary
from .result import GradientFlow
from .rhythm import Rhythm, dispatch_cost
from .sample import Sample
from .sites import Sites
from .trigger import Trigger
from .weights import Weights

#: Forwards after backwards without any update, before a loop is taken for one that has no optimizer.
PATIENCE = 64


class Steps:
    """Follows a training run: counts its steps, samples those that are due and writes them into the history."""

    def __init__(
        self, model: nn.Module, optimizers: tuple[torch.optim.Optimizer, ...], rhythm: Rhythm, history: History
    ) -> None:
        self.rhythm, self.history = rhythm, history
        self.running = False
        self.step = 0
        self.failure: str | None = None
        self._model = model
        self._given = bool(optimizers)
        self._main = weakref.ref(optimizers[0]) if optimizers else None
        self._ending = "optimizer" if optimizers else "undecided"  # or "forward"
        self._sites = Sites(model)
        self._passes = Passes(model, self._sites, history, self._forward_begins, self._guard)
        self._weights = Weights()
        self._eagerly = observe.Eagerly()
        self._handles: list[observe.Handle] = []
        self._before_step: observe.StepHook | None = None
        self._after_step: observe.StepHook | None = None
        self._trigger = Trigger(rhythm, self._count)
        self._quiet: list[observe.Handle] = []
        self._sample: Sample | None = None
        self._norms = Norms()
        self._graded: set[int] = set()  # parameters whose gradient the sample has
        self._stepping_now: list[torch.optim.Optimizer] = []  # optimizers in the middle of their step, the outer first
        self._tasks: set[int] = set()  # backward passes that will report their end
        self._provisional: list[Sample] = []
        self._strangers: set[int] = set()  # other optimizers of this model that stepped since the main one did
        self._over = False  # whether the step under way has ended and is not counted yet
        self._rehearsed = False
        self._log_after = True  # unless one comes between a forward and its step
        self._costs = (0.0, 0.0)

    # ------------------------------------------------------------------- beginning and end

    def start(self) -> None:
        """Attach."""
        self.rhythm.start()
        began = self.rhythm.clock()
        self.running = True
        self._costs = _costs()
        try:
            with observe.uninterrupted():
                self._quiet = [observe.Quiet()]
                self._open()
        except BaseException:
            self.running = False
            self._let_go()
            raise
        self.rhythm.spend(self.rhythm.clock() - began)

    def stop(self) -> None:
        """Detach everything. Without an optimizer this ends the step under way, if it has seen a backward pass."""
        self.rhythm.stop()
        self.running = False
        sample = self._sample
        with observe.uninterrupted():
            try:
                if sample is not None and self._ending != "optimizer":
                    self._guard(self._last)(sample)
                elif self._trigger.backward_seen:
                    self._count()
            finally:
                self._let_go()

    def log(self, loss: Any) -> None:
        """A loss noted by the user belongs to the step under way, or to the one that has just ended."""
        self._trigger.awake()
        if self._sample is not None:
            self._log_after = not self._passes.forward_seen
        self.history.log(max(self.step - self._log_after, 0), loss)

    def _last(self, sample: Sample) -> None:
        if sample.backward_seen:
            self._finish(sample)
            self._provisional.append(sample)
        self._settle()

    def _settle(self) -> None:
        """What could have been parts of one step were steps."""
        for part in self._provisional:
            if self.rhythm.fixed(self.step):
                self._write(part)
            self.step += 1
        self._provisional = []

    @property
    def num_ended(self) -> int:
        """How many steps have ended, as far as one can say now."""
        self._trigger.awake()
        return self.step + len(self._provisional)

    def result(self) -> GradientFlow:
        """The record; from any thread."""
        self._trigger.awake()
        parts, history = list(self._provisional), self.history
        for step, part in enumerate(parts, self.step):
            part.step = step
        due = [part for part in parts if self.rhythm.fixed(part.step)]
        if due:
            history = history.preview(due, self._sites.parameters)
        return history.result(self.rhythm.overhead())

    def _let_go(self) -> None:
        try:
            self._forget()
        except BaseException:
            self._forget()  # once more, all of it: twice does no harm
            raise

    def _forget(self) -> None:
        self._provisional = []
        with contextlib.ExitStack() as everything:  # it goes on with the others if something comes between
            everything.callback(self._sites.forget)
            everything.callback(lambda: observe.remove(self._quiet))
            self._drop(everything)

    def _drop(self, everything: contextlib.ExitStack) -> None:
        """Give up the sample under way, or the trigger."""
        self._sample = None
        everything.callback(self._norms.forget)
        everything.callback(self._weights.forget)
        everything.callback(self._passes.release)
        everything.callback(self._detach)

    def _detach(self, step_hooks: bool = True) -> None:
        with contextlib.ExitStack() as everything:
            everything.callback(self._eagerly.stop)
            if step_hooks and self._after_step is not None:
                everything.callback(self._after_step.remove)
                self._after_step = None
            if self._before_step is not None:
                everything.callback(self._before_step.remove)
                self._before_step = None
            everything.callback(self._trigger.disarm)
            everything.callback(observe.remove, self._handles)
            self._handles = []

    def _at_step(self, hook: Callable[..., Any]) -> None:
        """What runs after any optimizer's step from now on."""
        if self._after_step is None:
            self._after_step = observe.after_step(hook)
        else:
            self._after_step.become(hook)

    def _guard(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """``run`` as a hook: its time is noted, and if it fails the meter lets go of the model instead of harming
        training. If it is interrupted the interrupt is the user's, and the meter goes on.
        """
        rhythm, clock, modes_active = self.rhythm, self.rhythm.clock, observe.modes_active

        def guarded(*args: Any) -> Any:
            began = clock()
            try:
                if modes_active():
                    with observe.isolated():
                        return run(*args)
                return run(*args)
            except Exception as error:
                self._fail(error)
                return None
            except BaseException:
                self._recover()
                raise
            finally:
                rhythm.spent += clock() - began

        return guarded

    def _recover(self) -> None:
        """Something came between: what is half done is given up, and counting goes on."""
        try:
            with observe.uninterrupted():
                if self._sample is not None and self._over:
                    self.step += 1
                self._over = False
                with contextlib.ExitStack() as everything:
                    self._drop(everything)
                if not self.running:
                    self._let_go()
                elif self._ending == "undecided" or self.rhythm.fixed(self.step):
                    self._open()
                else:
                    self._wait()
        except BaseException:
            self.running = False
            self._let_go()
            raise

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = (
                f"the gradient-flow meter met {type(error).__name__} ({error}) in step {self.step} and let go of the "
                "model; training was not touched, and what was seen before is kept"
            )
        self._let_go()

    # ------------------------------------------------------------------- from step to step

    def _open(self, kept: bool = True) -> None:
        """Attach what a sampled step needs. Not ``kept``: only for the sake of the next sample."""
        self.rhythm.begin_sample()
        self._sites.refresh()
        if self._sample is None:
            self._detach(step_hooks=False)
            self._eagerly.start()
            before, after = self._passes.interested(self._guard(self._passes.before)), self._guard(self._passes.after)
            self._handles.append(observe.before_forward(before))
            self._handles.append(observe.after_forward_with_keywords(after))
            self._before_step = observe.before_step(self._guard(self._stepping))
            self._at_step(self._guard(self._stepped))
        self._sample = Sample(self.step, kept, self._norms)
        self._graded, self._tasks, self._stepping_now = set(), set(), []
        self._passes.open(self._sample, None if self._ending == "optimizer" else self._backward_arrives)

    def _count(self) -> None:
        self.step += 1
        if self._strangers:
            self._strangers = set()

    def _next(self) -> None:
        """A step has ended: attach what the next one needs."""
        self.step += 1
        self._over = False
        due, late = self.rhythm.due(self.step), self._passes.late
        if self._rehearsed or (due and (not late or self.rhythm.fixed(self.step))):
            self._rehearsed = False
            self._open()
        elif late and (due or self.rhythm.fixed(self.step + 1)):
            # gradients arrive in the step after their forward: the hooks for the next sample must be set in this one
            self._rehearsed = True
            self._open(kept=False)
        else:
            self._wait()
        if not self.running:  # another thread has stopped it meanwhile
            self._let_go()

    def _wait(self) -> None:
        """Leave one trigger behind: the same one as before, attaching it anew at every step would exceed the budget of
        a fast loop.
        """
        if self._trigger.lasts():
            return
        self._sample = self._passes.sample = None
        self._detach(step_hooks=self._ending != "optimizer")
        self._passes.leave()
        self._weights.release()
        if self._ending == "optimizer":
            leader = None if self._main is None else self._main()
            self._at_step(self._trigger.after_steps(leader, self._guard(self._passed)))
        else:
            passed, few = self._guard(self._forward_passed), self.rhythm.thrifty(self.step)
            self._trigger.before_forwards(self._model, self._is_part, self._parameters, passed, few)

    def _end(self) -> None:
        """The sampled step under way has ended."""
        sample = self._sample
        assert sample is not None
        self._over = True
        with observe.uninterrupted():
            if sample.kept:
                self._finish(sample)
                self._write(sample)
            else:
                self._passes.close()
            self._book()
            self._next()

    def _book(self) -> None:
        calls, arrivals = self._passes.counted()
        self.rhythm.spend(calls * self._costs[0] + arrivals * self._costs[1])
        self.rhythm.end_sample()

    def _finish(self, sample: Sample) -> None:
        """Complete a sample: the gradients that nobody asked for before, and what has become of the weights."""
        self._passes.close()
        if sample.parameters:
            left = [i for i in range(len(sample.parameters)) if i not in self._graded]
            sample.parameter_gradients(left)
            self._weights.after(sample.transfer, sample.change)
        sample.finish(self._weights.unchanged, everything=self._ending != "optimizer")

    def _write(self, sample: Sample) -> None:
        sample.step = self.step
        self._passes.activations.lively.update(self.history.write(sample, self._sites.parameters))

    def _look_at_weights(self) -> None:
        """Copy the weights at the beginning of what may change them."""
        sample = self._sample
        if sample is None or not sample.kept or (sample.parameters and self._weights.complete):
            return
        sample.take_parameters([(self.history.parameter(name), p) for name, p in self._sites.parameters.items()])
        self._weights.before(sample.parameters, sample.transfer, sample.weight)

    # ------------------------------------------------------------------- hooks around the optimizers' steps

    def _ours(self, optimizer: torch.optim.Optimizer) -> bool:
        ours = self._sites.identities
        return any(id(p) in ours for group in optimizer.param_groups for p in group["params"])

    def _stepping(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """Before any optimizer's step, in a sampled step."""
        sample = self._sample
        if sample is None or not self._ours(optimizer) or observe.inside_own_step(optimizer):
            return None
        if not self._given and (self._main is None or self._main() is None):
            self._main = weakref.ref(optimizer)
        if optimizer in self._stepping_now:  # its last step did not come to its end
            del self._stepping_now[self._stepping_now.index(optimizer) :]
        self._stepping_now.append(optimizer)
        self._look_at_weights()
        main = self._main is not None and self._main() is optimizer
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if not callable(closure):
            self._grade(optimizer)
            return None
        evaluate = self._restarting(closure, alone=main)
        return ((args[0], evaluate, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": evaluate})

    def _restarting(self, closure: Callable[..., Any], alone: bool) -> Callable[..., Any]:
        """The closure, with the sample starting over at each evaluation: the last one counts. Not ``alone``: beside
        what other optimizers of this step have seen before.
        """
        restart = self._guard(self._restart)
        if not alone and self._sample is not None:
            self._sample.set_aside()

        @functools.wraps(closure)
        def evaluate(*args: Any, **kwargs: Any) -> Any:
            restart()
            return closure(*args, **kwargs)

        return evaluate

    def _restart(self) -> None:
        if self._sample is not None:
            self._sample.restart()
            self._passes.restart()

    def _grade(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the norms of the gradients as ``optimizer`` finds them: not those of the step before."""
        sample = self._sample
        assert sample is not None
        index = {id(p): i for i, p in enumerate(sample.parameters)}
        at = []
        for group in optimizer.param_groups:
            rate = group.get("lr")
            moves = not isinstance(rate, (int, float)) or rate != 0
            for p in group["params"]:
                i = index.get(id(p))
                if i is not None:
                    at.append(i)
                    if moves:
                        sample.updatable.add(i)
        if sample.backward_seen:
            self._graded.update(at)
            sample.parameter_gradients(at)

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """After any optimizer's step, in a sampled step."""
        sample = self._sample
        if sample is None or not self._ours(optimizer) or observe.inside_own_step(optimizer):
            return
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if callable(closure) and sample.parameters:
            self._grade(optimizer)
        if optimizer in self._stepping_now:
            del self._stepping_now[self._stepping_now.index(optimizer) :]
        if not self._given and self._stepping_now:
            return  # an optimizer inside another: the outer one ends the step
        if not self._leads(optimizer):
            return
        if self._ending != "optimizer":
            self._ending = "optimizer"
            sample.earlier, self._provisional = self._provisional + sample.earlier, []
        self._end()

    def _leads(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether this optimizer of the model ends the steps; one that was found may be followed by another."""
        main = None if self._main is None else self._main()
        if main is optimizer:
            self._strangers = set()
            return True
        if self._given:
            return False
        again = id(optimizer) in self._strangers
        if main is None or again:
            self._main, self._strangers = weakref.ref(optimizer), set()
            self.step += again  # its last step was one, too
            self._trigger.disarm()  # it has the other one in mind
            return True
        self._strangers.add(id(optimizer))
        return False

    def _passed(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """After any optimizer's step, between samples."""
        del args, kwargs
        if observe.inside_own_step(optimizer) or (not self._given and observe.inside_another_step(optimizer)):
            return
        main = None if self._main is None else self._main()
        if main is optimizer or (not self._given and self._ours(optimizer) and self._leads(optimizer)):
            self._strangers = set()
            self._next()

    # ------------------------------------------------------------------- without an optimizer

    def _forward_begins(self) -> None:
        """A training forward begins, in a sampled step: without an optimizer this ends a step that had a backward
        pass.
        """
        sample = self._sample
        assert sample is not None
        if self._ending != "optimizer" and sample.backward_seen and not self._stepping_now:
            if self._ending == "forward":
                self._end()
            else:
                self._maybe_end(sample)
        self._look_at_weights()

    def _maybe_end(self, sample: Sample) -> None:
        """No optimizer has been seen yet: was this a step, or is somebody accumulating gradients for one?"""
        self._finish(sample)
        self._book()
        self._provisional.append(sample)
        self.history.changed()
        if sample.moved() or len(self._provisional) > PATIENCE:
            self._ending = "forward"
            self._settle()
            self.step -= 1
            self._next()
        else:
            self._open()

    def _backward_arrives(self) -> None:
        """A gradient arrives: when this backward pass ends the parameters' gradients are there, and may go soon."""
        task = torch._C._current_graph_task_id()
        if task not in self._tasks and task != -1:
            self._tasks.add(task)
            observe.at_end_of_backward(self._guard(self._backward_done))

    def _backward_done(self) -> None:
        sample = self._sample
        if sample is None or not sample.kept:
            return
        self._look_at_weights()
        everything = list(range(len(sample.parameters)))
        self._graded.update(everything)
        sample.parameter_gradients(everything)

    def _parameters(self) -> dict[str, Any]:
        """Those of the model as it is now."""
        if self._sites.refresh():
            self._passes.activations.lively.clear()
        return self._sites.parameters

    def _is_part(self, identity: int) -> bool:
        return self._passes.outside_used and identity in self._sites.known

    def _forward_passed(self, module: nn.Module, args: Any) -> None:
        """Between samples: the model, or a part of it that somebody calls by itself, is about to be called."""
        del args
        if torch._C._current_graph_task_id() != -1:
            return
        trigger = self._trigger
        trigger.entered()
        if not module.training or not ordinary():
            return
        if not trigger.backward_seen:
            if torch.is_grad_enabled():
                trigger.seek()
            return
        trigger.forward_seen()
        self._next()
        trigger.adapt()
        if module is self._model and self._sample is not None:
            self._passes.root_begins()


def _costs() -> tuple[float, float]:
    try:
        return dispatch_cost()
    except Exception:  # a dispatch mode of somebody's does not like the little measurement
        return 2e-6, 5e-6
