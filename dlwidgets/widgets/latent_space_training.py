"""A latent space that forms while its autoencoder is trained, and several of them side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from dlwidgets.widgets.base import Exhibit
from dlwidgets.widgets.latent_space import LatentSpaceExplorer
from dlwidgets.widgets.latent_space_words import BOUND, CONTOURS, axis_names, describe_training, named, number

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space import VAE, Snapshot
    from dlwidgets.compute.latent_space.scene import Scene

BETAS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What the slider of beta offers, besides the value that it starts with."""


class Replay:
    """A slider over the epochs of a training, and a button that plays them.

    Attributes:
        slider: the epoch that is shown.
        box: both.
        link: what moves the slider while it plays.
    """

    def __init__(self, num_epochs: int) -> None:
        self._last = num_epochs
        self.slider = ipywidgets.IntSlider(
            num_epochs,
            0,
            num_epochs,
            description="epoch",
            style={"description_width": "42px"},
            layout={"width": "230px", "min_width": "200px"},
        )
        self._play = ipywidgets.Play(value=num_epochs, min=0, max=num_epochs, interval=150, repeat=True)
        self.link = ipywidgets.jslink((self._play, "value"), (self.slider, "value"))
        self.box = ipywidgets.HBox([self._play, self.slider], layout={"display": "none", "flex_flow": "row wrap"})

    def show(self, epoch: int | None, ready: bool) -> None:
        """The epoch (None: the last one); nothing before there is anything to replay."""
        self.box.layout.display = None if ready and self._last > 0 else "none"
        self.slider.value = self._last if epoch is None else epoch


class TrainedLatentSpace(LatentSpaceExplorer):
    """An explorer that trains its own variational autoencoder; made by `LatentSpaceExplorer.train`.

    The cloud of points moves with every epoch; Stop keeps what there is. Another ``beta`` trains anew. Afterwards
    ``shown_epoch`` goes back to any of them: the points are where they were then (the training images; the held-out
    ones are left out). The pictures and the numbers that stay are the trained autoencoder's and say so, and what it
    makes of the images is not outlined.

    Args:
        images: floats in [0, 1], (sample, *shape), a tensor or a numpy array.
        labels: an integer or a string for each image, or None; not used in training.
        beta: the weight of the KL term; 0 leaves it out.
        epochs: how many times to go through the images.
        seed: the same seed gives the same training.
        latent_dim: how many latent dimensions.
        held_out: images to measure on; None: a random sixth of ``images``.
        compact: leave out the controls, for panels side by side.
        **kwargs: as for `LatentSpaceExplorer`.

    Attributes:
        training: the `VAE` once it is trained, None until then.

    Raises:
        TypeError, ValueError: as `train_vae` and `LatentSpaceExplorer` do.
    """

    beta = traitlets.Float(1.0, help="The weight of the KL term, at least 0.")
    shown_epoch = traitlets.Int(
        None, allow_none=True, help="The epoch whose codes are shown, 0: before training; None: the last one."
    )

    _trains = True

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        *,
        beta: float = 1.0,
        epochs: int = 50,
        seed: int = 0,
        latent_dim: int = 2,
        held_out: Any = None,
        compact: bool = False,
        **kwargs: Any,
    ) -> None:
        from dlwidgets.compute.latent_space.training import check_training

        beta, options = check_training(
            images, labels, beta=beta, epochs=epochs, seed=seed, latent_dim=latent_dim, held_out=held_out
        )
        self._compact, self._options = compact, options
        self._snapshot: VAE | Snapshot | None = None
        self._waits = False
        self._others: tuple[TrainedLatentSpace, ...] = ()
        self._span: Any = None
        self.training: VAE | None = None
        super().__init__(None, images, labels, **kwargs)
        with self._assigning():
            self.beta = beta
        self._train()

    def _build(self) -> None:
        self._beta_choice = ipywidgets.SelectionSlider(
            options=[(number(value), value) for value in BETAS],
            value=1.0,
            description="β",
            continuous_update=False,
            style={"description_width": "16px"},
            layout={"width": "220px"},
        )
        self._train_button = ipywidgets.Button(description="Train again", layout={"width": "110px"})
        self._replay = Replay(self._options["epochs"])
        self._state = ipywidgets.Label()
        super()._build()
        self._label(self._beta_choice, "Beta, the weight of the KL term")
        self._label(self._train_button, "Train again")
        self._label(self._replay.slider, "Epoch to show")
        self._own(self._replay.link)
        if self._compact:
            self._plane.figure.layout.flex = "none"
            self._plane.figure.layout.width = "auto"
            for part in (
                self._selection_strip,
                self._path_strip,
                self._kl.box,
                self._controls.box,
                self._key,
                self._about,
                self._plane.legend,
            ):
                self._own(part)
        self._replay.slider.observe(self._react(self._unless_assigning(self._on_replay)), "value")
        self.observe(self._unless_assigning(lambda _: self._draw()), "shown_epoch")
        self._beta_choice.observe(self._react(self._unless_assigning(self._on_beta_choice)), "value")
        self._train_button.on_click(self._react(lambda _: self._train()))
        self.observe(self._unless_assigning(lambda _: self._train()), "beta")

    def _arranged(self) -> list[ipywidgets.Widget]:
        controls = ipywidgets.Box([self._beta_choice, self._train_button, self._replay.box])
        controls.add_class("dlw-latent-controls")
        self._state.add_class("dlw-latent-words")
        if not self._compact:
            return [controls, self._state, *super()._arranged()]
        plane = [self._plane.figure, self._plane.picture]
        return [controls, self._state, self._problem, *plane, self._prior_pictures.box, self._encodings_strip]

    def refresh(self) -> None:
        """Train again."""
        self._train()

    @property
    def cloud(self) -> Any:
        """The mark of the points."""
        return self._plane.cloud

    def share_pointer(self, others: "Sequence[TrainedLatentSpace]") -> None:
        """Have the probe follow those of other spaces, in the browser, and the axes span as much as theirs."""
        self._plane.picture.others = [other.cloud for other in others]
        with self._lock:
            self._others = tuple(others)
            self._share_span()

    def _keeps_range(self, scene: "Scene") -> bool:
        return bool(self._others) or super()._keeps_range(scene)

    def _share_span(self) -> None:
        """Panels with the same axes show the same part of them: what is equally large in two of them looks so."""
        from dlwidgets.compute.latent_space.scene import common_box

        scenes = {panel: panel._scene for panel in (self, *self._others) if panel._scene is not None}
        for panel, scene in scenes.items():
            span = common_box([other.box for other in scenes.values() if axis_names(other) == axis_names(scene)])
            if self._others and panel._span != span:
                panel._span = span
                panel._plane.show_range(span)

    @property
    def legend(self) -> ipywidgets.Widget:
        """The legend, which compact panels leave to who shows them."""
        return self._plane.legend

    def _on_beta_choice(self, change: Any) -> None:
        self.beta = change["new"]

    @traitlets.validate("beta")
    def _check_beta(self, proposal: Any) -> Any:
        from dlwidgets.compute.latent_space.inputs import as_number

        return as_number(proposal["value"], "beta")

    @traitlets.validate("shown_epoch")
    def _check_epoch(self, proposal: Any) -> Any:
        epoch, last = proposal["value"], self._options["epochs"]
        if epoch is not None and not 0 <= epoch <= last:
            raise ValueError(f"shown_epoch: expected a number from 0 to {last}, or None, got {epoch}")
        return epoch

    def _on_replay(self, change: Any) -> None:
        self.shown_epoch = None if change["new"] == self._options["epochs"] else change["new"]

    def _train(self) -> None:
        from dlwidgets.compute.latent_space import train_vae

        self._forget("prior")
        self._snapshot = self.training = None
        self._waits = True
        with self._assigning():
            self.shown_epoch = None
        self._show_beta()
        self._compute(
            train_vae,
            self._images,
            self._labels_given,
            beta=self.beta,
            **self._options,
            lane="long",
            topic="training",
            then=self._took_training,
            failed=lambda _: self._wait_no_more(),
            published=self._took_snapshot,
        )

    def _stop(self) -> None:
        with self._lock:
            super()._stop()  # delivers nothing of a training that has not begun
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._waits = False
        self._show_beta()

    def _took_snapshot(self, snapshot: "Snapshot") -> None:
        self._snapshot, self._autoencoder = snapshot, snapshot.autoencoder
        self._show_beta()
        self._encode(brief=True)

    def _took_training(self, vae: "VAE") -> None:
        self._snapshot = self.training = vae
        self._autoencoder = vae.autoencoder
        self._encode(brief=False)

    def _encode(self, brief: bool) -> None:
        from dlwidgets.compute.latent_space.scene import bind_apart

        self._coder = bind_apart(self._autoencoder)
        self._explore(brief=brief)

    def _took_scene(self, scene: Any) -> None:
        super()._took_scene(scene)
        if self.training is not None and "prior" not in self._found:
            self._ask("prior")

    def _show_beta(self) -> None:
        with self._assigning():
            if self.beta not in dict(self._beta_choice.options).values():
                values = sorted({*BETAS, self.beta})
                self._beta_choice.options = [(number(value), value) for value in values]
            self._beta_choice.value = self.beta
        self._state.value = self._describe_training()

    @property
    def _goes_back(self) -> bool:  # type: ignore[override]
        return self.training is not None and self.shown_epoch not in (None, self._options["epochs"])

    def _render(self) -> None:
        super()._render()
        self._share_span()
        self._show_beta()
        with self._assigning():
            self._replay.show(self.shown_epoch, ready=self.training is not None)
        shown = self._scene, self.shown_epoch
        if self.training is not None and self._drawn.get("epoch", (self._scene, None)) != shown:
            self._drawn["epoch"] = shown
            self._plane.show_points(self._points())

    def _points(self) -> Any:
        """The points of the epoch that is shown."""
        from dlwidgets.compute.latent_space.scene import points_then

        if self.training is None or self._scene is None or self.shown_epoch is None:
            return None if self._scene is None else self._scene.points
        return points_then(self._scene, self.training.codes[self.shown_epoch], self.training.train_index)

    def _describe_training(self) -> str:
        words = describe_training(self.beta, self._options["epochs"], self._snapshot, self.shown_epoch, self._waits)
        if not self._compact and self._snapshot is not None:
            words = f"{words} {BOUND}"
        words = named(words, self._noun)
        if self.shown_epoch is not None:
            words += f" Shown again: where the training {self._noun}s were. The pictures are the trained decoder's."
        if self._goes_back:
            words += " The outlines of posteriors are hidden: they are the trained encoder's."
        return words

    def _describe(self) -> str:
        return f"{self._describe_training()} {super()._describe()}"


class LatentSpaceComparison(Exhibit):
    """The same training with several weights of the KL term, side by side; one pointer moves on all planes.

    Made by ``LatentSpaceExplorer.train(images, labels, beta=(0, 1, 4))``.

    Args:
        images, labels: as for `TrainedLatentSpace`.
        betas: a weight of the KL term for each panel.
        **kwargs: as for `TrainedLatentSpace`.

    Attributes:
        explorers: the panels, each a `TrainedLatentSpace`.
    """

    def __init__(self, images: Any, labels: Any = None, *, betas: Sequence[float] = (0, 1, 4), **kwargs: Any) -> None:
        if len(betas) == 0:
            raise ValueError("beta: expected at least one number, got none")
        super().__init__()
        explorers: list[TrainedLatentSpace] = []
        try:
            for beta in betas:
                explorers.append(TrainedLatentSpace(images, labels, beta=beta, compact=True, **kwargs))
        except Exception:
            for made in (*explorers, self):
                made.close()
            raise
        self.explorers = tuple(explorers)
        first = self.explorers[0]
        for explorer in self.explorers:
            explorer.add_class("dlw-latent-panel")
            explorer.share_pointer([other for other in self.explorers if other is not explorer])
            if explorer is not first:
                self._own(ipywidgets.jslink((first.cloud, "hidden"), (explorer.cloud, "hidden")))
        row = ipywidgets.Box(list(self.explorers))
        row.add_class("dlw-row")
        key = ipywidgets.Label(named(f"{CONTOURS} {BOUND}", first._noun))
        key.add_class("dlw-latent-words")
        self.children = [first.legend, row, key]

    def wait(self, timeout: float | None = None) -> None:
        """Return once every panel is trained and drawn; see `Exhibit.wait`."""
        for explorer in self.explorers:
            explorer.wait(timeout)

    def _describe(self) -> str:
        return " ".join(explorer._describe() for explorer in self.explorers)
