"""LatentSpaceExplorer: move over a latent plane and see the decoder's picture move under the pointer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets

from dlwidgets.compute.context import Cancelled
from dlwidgets.marks.decoded_picture import Filmstrip
from dlwidgets.widgets.assigning import Assigning
from dlwidgets.widgets.base import Exhibit
from dlwidgets.widgets.latent_space_controls import PlaneControls, view_of
from dlwidgets.widgets.latent_space_plane import KLBars, LatentPlane
from dlwidgets.widgets.latent_space_selection import Selectable
from dlwidgets.widgets.latent_space_strips import MAX_SHOWN, PriorPictures, show_encodings, show_path, show_pictures
from dlwidgets.widgets.latent_space_words import (
    axis_names,
    counted,
    describe_contours,
    describe_failure,
    describe_problem,
    describe_space,
    named,
    of_model,
    spelled,
    typed_code,
)
from dlwidgets.widgets.runner import LaneName

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space.probing import Look, Place
    from dlwidgets.compute.latent_space.scene import Scene


class LatentSpaceExplorer(Selectable, Assigning, Exhibit):
    """The latent space of your own autoencoder: every place of the plane decoded as the pointer moves over it.

    >>> explorer = LatentSpaceExplorer((encoder, decoder), images, labels)
    >>> explorer.z = (0.3, -1.2)

    The browser interpolates between the pictures of a grid at once, also in an exported page; the exact picture follows
    from the kernel, and the display says which of the two it is. The autoencoder is never changed.

    Args:
        autoencoder: anything with ``encode`` and ``decode``, or a pair (encoder, decoder) of modules or functions;
            deterministic or returning (mean, log_variance).
        images: what to encode, (sample, *shape), a tensor or a numpy array.
        labels: an integer or a string for each image, or None.
        picture_shape: how to read the decoder's output, such as (28, 28); default: as it comes, and a vector as long as
            the images are large like one of them.
        **kwargs: the traits of `Selectable` and those of the box, such as ``layout``.

    Attributes:
        result: the `LatentSpace`, None until ready (see `wait`).

    Raises:
        TypeError: no autoencoder, images that are no array, labels that are no integers or strings, an unknown keyword.
        ValueError: images or labels of a shape that does not fit. An autoencoder that fails says so in the widget.
    """

    def __init__(
        self,
        autoencoder: Any,
        images: Any,
        labels: Any = None,
        *,
        picture_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        from dlwidgets.compute.latent_space.pictures import as_picture_shape
        from dlwidgets.compute.latent_space.scene import bind_apart, check_data, noun_of

        # Bad input is refused, and all is known that validates a trait, before any widget is made.
        self._autoencoder = autoencoder
        coder = None if autoencoder is None and self._trains else bind_apart(autoencoder)
        images, labels = check_data(images, labels)
        picture_shape = as_picture_shape(picture_shape)
        self._coder, self._images, self._labels_given, self._picture_shape = coder, images, labels, picture_shape
        self._noun = noun_of(images, picture_shape)
        self._found: dict[str, Any] = {}
        self._drawn: dict[str, Any] = {}
        self._prior_seed = 0
        super().__init__(**kwargs)
        self._build()
        self._explore()

    _trains = False
    _goes_back = False  # whether the points are those of an older epoch than the model

    @classmethod
    def train(cls, images: Any, labels: Any = None, *, beta: Any = 1.0, **kwargs: Any) -> Any:
        """Train a small variational autoencoder on images in [0, 1], and watch its space form.

        With several values, such as ``beta=(0, 1, 4)``, that many trainings side by side share a pointer. Keyword
        arguments are those of `TrainedLatentSpace`: ``epochs``, ``seed``, ``latent_dim``, ``held_out``.
        """
        from dlwidgets.widgets.latent_space_training import LatentSpaceComparison, TrainedLatentSpace

        beta = beta.tolist() if hasattr(beta, "tolist") else beta  # an array or a tensor
        if isinstance(beta, Sequence) and not isinstance(beta, str):
            return LatentSpaceComparison(images, labels, betas=tuple(beta), **kwargs)
        return TrainedLatentSpace(images, labels, beta=beta, **kwargs)

    def refresh(self) -> None:
        """Encode and decode again, after the autoencoder was trained further or replaced in place."""
        from dlwidgets.compute.latent_space.scene import bind_apart

        if self._autoencoder is not None:
            self._coder = bind_apart(self._autoencoder)
        self._forget("prior")  # they are another decoder's
        self._explore()

    # Making the parts, once

    def _build(self) -> None:
        self._plane = LatentPlane()
        self._kl = KLBars()
        self._controls = PlaneControls()
        self._about = ipywidgets.Label()
        self._problem = ipywidgets.Label()
        self._key = ipywidgets.Label()
        for words in (self._about, self._problem, self._key):
            words.add_class("dlw-latent-words")
        for name in ("dlw-latent-problem", "dlw-hidden"):
            self._problem.add_class(name)
        self._selection_strip, self._path_strip, self._encodings_strip = Filmstrip(), Filmstrip(), Filmstrip()
        self._prior_pictures = PriorPictures()
        self._connect()
        self.children = self._arranged()
        for hidden in (self._plane.pan_zoom, *self._kl.parts, self._prior_pictures.figure):
            self._own(hidden)
        names = [
            *self._controls.names(),
            (self._plane.figure, "Latent plane"),
            (self._kl.figure, "KL of each latent dimension"),
            (self._prior_pictures.figure, "Classes of the prior's samples"),
        ]
        for widget, name in names:
            self._label(widget, name)

    def _arranged(self) -> list[ipywidgets.Widget]:
        side = ipywidgets.VBox([self._plane.picture, self._kl.box])
        side.add_class("dlw-latent-side")
        row = ipywidgets.Box([self._plane.figure, side])
        row.add_class("dlw-row")
        strips = [self._encodings_strip, self._selection_strip, self._path_strip, self._prior_pictures.box]
        return [self._problem, row, self._plane.legend, self._controls.box, self._key, self._about, *strips]

    def _connect(self) -> None:
        plane, controls = self._plane, self._controls
        watched: list[tuple[Any, str, Callable[[Any], None]]] = [
            (plane.cloud, "pointer", self._on_pointer),
            (plane.cloud, "hovered", self._on_hovered),
            (plane.cloud, "selected", lambda change: self._took_over(selected=tuple(change["new"].tolist()))),
            (plane.ends, "x", self._on_ends),
            (plane.ends, "y", self._on_ends),
            (controls.typed, "value", self._on_typed),
            (controls.drag, "value", lambda change: setattr(plane.cloud, "drag", change["new"])),
            (controls.manifold, "value", lambda change: setattr(self, "manifold", change["new"])),
            (controls.contours, "value", lambda change: setattr(self, "contours", change["new"])),
            (controls.path, "value", self._on_path_button),
            (controls.kind, "value", lambda change: setattr(self, "path_kind", change["new"])),
            (controls.view, "value", lambda change: setattr(self, "view", change["new"])),
            (controls.x, "value", self._on_dims),
            (controls.y, "value", self._on_dims),
        ]
        for widget, name, handler in watched:
            widget.observe(self._react(self._unless_assigning(handler)), name)
        controls.on_rest(self._react(lambda: None if self._assigns else self._on_rest()))
        controls.prior.on_click(self._react(lambda _: self._ask_prior()))
        plane.cloud.on_element_click(self._react(self._on_click))
        plane.cloud.on_background_click(self._react(self._on_click))
        for names, own in (
            (["view", "dims", "at"], lambda _: self._ask_scene()),
            (["path", "path_kind"], lambda _: self._ask_path()),
            (["manifold", "contours"], lambda _: self._draw()),
            ("z", self._on_z),
            ("selected", self._on_selected),
        ):
            self.observe(self._unless_assigning(own), names)

    # What a person or a script changes

    def _took_over(self, **values: Any) -> None:
        """What the browser changed becomes ours."""
        with self._assigning():
            for name, value in values.items():
                setattr(self, name, value)
        if "selected" in values:
            self._ask_selected()

    def _on_selected(self, change: Any) -> None:
        if self._scene is not None:
            with self._assigning():
                self._plane.cloud.selected = change["new"]
            self._ask_selected()

    def _on_z(self, change: Any, through: bool = True) -> None:
        from dlwidgets.compute.latent_space.probing import point_of

        if change["new"] is None or self._scene is None:
            return
        space = self._scene.space
        point, code = point_of(self._scene, change["new"])
        self._found.pop("look", None)  # the probe leaves the image that it was at
        with self._assigning():
            self._plane.cloud.pointer, self._plane.cloud.hovered = list(point), -1
        if not self._scene.plane.exact:
            self._ask("place", point, z=code)
        elif space.latent_dim > 2 and through:
            with self._assigning():
                self.at = code
            self._ask_scene()
        else:
            self._ask("place", point)

    def _put_probe(self, through: bool) -> None:
        """On a first plane (which is to go ``through`` it) and on another one, the probe goes to where its code is."""
        try:
            self._on_z({"new": self._as_code("z", self.z)}, through)
        except (TypeError, ValueError) as error:  # only now can the code be checked
            with self._assigning():
                self.z = None
            self._show_error(error)

    def _on_typed(self, change: Any) -> None:
        if change["new"].strip():
            self.z = typed_code(change["new"])

    def _on_pointer(self, change: Any) -> None:
        if len(change["new"]) == 2:
            self._ask("place", tuple(change["new"]))

    def _on_hovered(self, change: Any) -> None:
        if 0 <= change["new"] < len(self._images):
            self._ask("look", change["new"])
        else:
            self._forget("look")

    def _on_click(self, _: Any, event: Any) -> None:
        data = event.get("data", {})
        index, point = data.get("index", -1), (data.get("x"), data.get("y"))
        if self.path is not None:  # start and end take turns, so two clicks make a path
            self.path = (self.path[1], point)
        elif 0 <= index < len(self._images):
            self._ask("encodings", index)
        else:
            self._forget("encodings")

    def _on_ends(self, _: Any) -> None:
        x, y = self._plane.ends.x, self._plane.ends.y
        if self.path is not None and len(x) == len(y) == 2:
            self.path = ((float(x[0]), float(y[0])), (float(x[1]), float(y[1])))

    def _on_path_button(self, change: Any) -> None:
        from dlwidgets.compute.latent_space.probing import path_ends

        self.path = path_ends(self._scene) if change["new"] and self._scene is not None else None

    def _on_dims(self, change: Any) -> None:
        if change["owner"] is self._controls.x:  # a dimension chosen twice swaps the axes
            self.dims = (change["new"], change["old"] if change["new"] == self.dims[1] else self.dims[1])
        else:
            self.dims = (change["old"] if change["new"] == self.dims[0] else self.dims[0], change["new"])

    def _on_rest(self) -> None:
        if self._scene is not None:
            code = self._scene.plane.at.tolist()
            moved = self._controls.moved(code)
            if moved or self.at is not None:  # back to what is shown, while another plane is on its way
                self.at = tuple(moved.get(i, code[i]) for i in range(len(code)))

    # What is asked of the runner

    def _explore(self, brief: bool = False) -> None:
        from dlwidgets.compute.latent_space import scene

        if self._coder is None:  # nothing is trained yet
            return
        self._compute(
            scene.explore,
            self._coder,
            self._images,
            self._labels_given,
            at=self.at,
            view=self.view,
            dims=self.dims,
            picture_shape=self._picture_shape,
            brief=brief,
            lane="long" if (len(self._images) > 20_000 and not self._trains) or self.view == "umap" else "quick",
            topic="scene",
            then=self._took_scene,
        )

    def _ask_scene(self) -> None:
        from dlwidgets.compute.latent_space import scene

        if self._scene is None:  # the plane asked for before is not there yet, or could not be made
            self._explore()
            return
        view = self.view or view_of(self._scene)
        self._compute(
            scene.look_from,
            self._scene.space,
            view=view,
            dims=self.dims,
            at=self.at,
            lane="long" if view == "umap" else "quick",
            topic="scene",
            then=self._took_scene,
            failed=lambda _: self._keep_view(),
        )

    def _keep_view(self) -> None:
        """Another plane could not be made: the choice says again what is shown."""
        if self._scene is not None:
            with self._assigning():
                self.view = self._controls.view.value = view_of(self._scene)

    def _ask(self, topic: str, *args: Any, lane: LaneName = "quick", **kwargs: Any) -> None:
        """Ask for one of the parts that `_render` draws."""
        from dlwidgets.compute.latent_space import probing

        jobs: dict[str, Callable[..., Any]] = {
            "place": probing.decode_at,
            "look": probing.look_at,
            "encodings": probing.encode_again,
            "walk": probing.walk,
            "chosen": probing.pictures_of,
            "prior": probing.sample_prior,
        }
        if self._scene is not None:
            then = partial(self._took, topic)
            at_once = topic in ("place", "look")  # what is under the pointer should not wait for a thread to wake
            self._compute(jobs[topic], self._scene, *args, lane=lane, topic=topic, then=then, at_once=at_once, **kwargs)

    def _ask_prior(self) -> None:
        """The first samples are the same every time; asked for again, there are new ones."""
        self._prior_seed = self._prior_seed + 1 if "prior" in self._found else 0
        self._ask("prior", lane="long", seed=self._prior_seed)

    def _ask_path(self) -> None:
        if self.path is None:
            self._forget("walk")
        else:
            self._ask("walk", *self.path, kind=self.path_kind, failed=self._lost_walk)

    def _lost_walk(self, error: BaseException) -> None:
        """There is no such path: the one before must not stay beside the sentence that says so; its ends do."""
        if not isinstance(error, Cancelled):
            self._found.pop("walk", None)
            self._render()

    def _ask_selected(self) -> None:
        if len(self.selected) == 0:
            self._forget("chosen")
        else:
            self._ask("chosen", list(self.selected[:MAX_SHOWN]))

    def _forget(self, topic: str) -> None:
        if self._found.pop(topic, None) is not None:
            self._draw()

    # What the runner answers

    def _took_scene(self, scene: "Scene") -> None:
        before, self._scene, self.result = self._scene, scene, scene.space
        for topic in ("place", "look", "encodings"):
            self._found.pop(topic, None)
        if describe_problem(scene):
            self._show_error(ValueError(describe_problem(scene)))
        if self.z is not None and (before is None or axis_names(before) != axis_names(scene)):
            self._put_probe(through=before is None)
        elif len(self._plane.cloud.pointer) == 2:
            self._ask("place", tuple(self._plane.cloud.pointer))
        if before is None:
            self._ask_selected()
        if self.path is not None:
            self._ask_path()

    def _took(self, topic: str, value: Any) -> None:
        late = {
            "walk": self.path is None,
            "chosen": len(self.selected) == 0,
            "look": topic == "look" and value.index != self._plane.cloud.hovered,
        }
        if late.get(topic):  # what it answers is no longer asked
            return
        self._found[topic] = value
        if topic == "place":
            with self._assigning():
                self.z = value.z

    # Drawing

    def _render(self) -> None:
        if self._scene is None:
            return
        with self._assigning():
            self._render_scene(self._scene)
            self._plane.manifold.opacity = self._controls.manifold.value = self.manifold
            self._controls.contours.value = self.contours
            back = self._goes_back
            self._key.value = named(describe_contours(self._scene, back), self._noun) if self.contours else ""
            self._controls.path.value, self._controls.kind.value = self.path is not None, self.path_kind
            path = self._found.get("walk"), self.path
            if self._drawn.get("path") != path:
                self._drawn["path"] = path
                self._plane.show_path(*path)
            for topic, show in self._parts().items():
                value = self._found.get(topic)
                before, was_back = self._drawn.get(topic) or (None, False)
                if before is not value or was_back != back:
                    self._drawn[topic] = value, back
                    show(value)
            self._plane.show_contours(self.contours, only_prior=back)
            failure = describe_failure(self._found.get("place"))
            self._about.value = of_model(self._drawn["words"], back) + failure

    def _render_scene(self, scene: "Scene") -> None:
        if self._drawn.get("scene") is scene:
            return
        keep_range = self._keeps_range(scene)
        self._drawn |= {"scene": scene, "box": scene.box, "place": None, "look": None}
        self._plane.show_scene(scene, keep_range=keep_range)
        self._plane.cloud.selected = self.selected
        self._kl.show(scene.space.kl, self._noun)
        self._controls.show_scene(scene)
        # kept for the moves of the probe: it goes through all images
        self._drawn["words"] = named(describe_space(scene), self._noun)
        self._problem.value = describe_problem(scene)
        (self._problem.remove_class if self._problem.value else self._problem.add_class)("dlw-hidden")
        self._adopt()  # the sliders of the remaining dimensions are made once their number is known

    def _keeps_range(self, scene: "Scene") -> bool:
        """Whether another scene leaves alone what part of the plane is shown."""
        return bool(self._drawn.get("box") == scene.box)

    def _parts(self) -> dict[str, Callable[[Any], None]]:
        noun, back = self._noun, self._goes_back
        chosen = f"{counted(len(self.selected), noun)} selected"
        if len(self.selected) > MAX_SHOWN:
            chosen += f", the first {MAX_SHOWN} shown"

        def show_look(look: "Look | None") -> None:
            self._plane.show_look(look)
            self._kl.show_own(look, back)

        def show_place(place: "Place | None") -> None:
            if place is not None:
                self._plane.show_place(place)
                self._controls.typed.value = spelled(place.z)

        return {
            "look": show_look,
            "place": show_place,
            "walk": lambda value: show_path(self._path_strip, value, self.path_kind),
            "encodings": lambda value: show_encodings(self._encodings_strip, value, noun, back),
            "chosen": lambda value: show_pictures(self._selection_strip, value, f"{chosen}."),
            "prior": lambda value: self._prior_pictures.show(value, noun, back),
        }

    def _describe(self) -> str:
        if self._scene is None:
            return "A latent space: nothing computed yet."
        return " ".join(part for part in (self._about.value, self._problem.value) if part)
