"""What a person selects in a latent space, and what of it is refused."""

from typing import TYPE_CHECKING, Any

import traitlets

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space.scene import Scene


class Selectable(traitlets.HasTraits):
    """The traits of LatentSpaceExplorer; what depends on the number of latent dimensions is checked when known."""

    z = traitlets.Any(None, allow_none=True, help="The code under the probe, one number a latent dimension; None.")
    selected = traitlets.Any((), help="The indices of the selected images, a tuple of integers; set from a mask too.")
    view = traitlets.Enum(
        ["plane", "pca", "umap"],
        None,
        allow_none=True,
        help="Two latent dimensions, principal components, or UMAP (approximate, needs umap-learn); None: by itself.",
    )
    dims = traitlets.Tuple(
        traitlets.Int(min=0), traitlets.Int(min=0), default_value=(0, 1), help="The dimensions of view 'plane'."
    )
    at = traitlets.Any(None, allow_none=True, help="The code through which the plane goes; None: by itself.")
    path = traitlets.Any(
        None, allow_none=True, help="((x, y), (x, y)): the ends of a path on the plane; None: no path."
    )
    path_kind = traitlets.Enum(["linear", "spherical"], "linear")
    manifold = traitlets.Float(0.0, min=0.0, max=1.0, help="How strongly the decoded plane shows under the points.")
    contours = traitlets.Bool(True, help="Whether the prior and the data's codes together are outlined.")

    _scene: "Scene | None" = None
    _assigns: bool
    _images: Any

    @traitlets.validate("z", "at")
    def _check_code(self, proposal: Any) -> Any:
        return proposal["value"] if self._assigns else self._as_code(proposal["trait"].name, proposal["value"])

    def _as_code(self, name: str, value: Any) -> Any:
        from dlwidgets.compute.latent_space.scene import as_code

        if value is None or self._scene is None:
            return value
        return tuple(as_code(value, self._scene.space.latent_dim, name).tolist())

    @traitlets.validate("dims")
    def _check_dims(self, proposal: Any) -> Any:
        from dlwidgets.compute.latent_space.probing import as_dims

        return as_dims(proposal["value"], None if self._scene is None else self._scene.space.latent_dim)

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> Any:
        from dlwidgets.compute.latent_space.probing import as_selection

        return proposal["value"] if self._assigns else as_selection(proposal["value"], len(self._images))

    @traitlets.validate("path")
    def _check_path(self, proposal: Any) -> Any:
        from dlwidgets.compute.latent_space.probing import as_path

        return as_path(proposal["value"])
