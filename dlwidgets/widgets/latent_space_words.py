"""What LatentSpaceExplorer says in words."""

import re
from typing import TYPE_CHECKING, Any

from dlwidgets.marks.point_cloud import MAX_COLORS
from dlwidgets.widgets.base import visible

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space import VAE, ClassCoverage, Snapshot
    from dlwidgets.compute.latent_space.probing import Place, PriorReport
    from dlwidgets.compute.latent_space.scene import LatentSpace, Scene

MAX_NAMES = 10_000
MAX_FAILURE = 200

BOUND = "The reconstruction is the cross-entropy of grey values: the ELBO is a bound up to a constant, no log density."


def number(value: float) -> str:
    """Three significant digits, with a true minus sign; a billion is 1e9."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}").replace("-", "−")


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def named(words: str, noun: str) -> str:
    """The same words about what is called an image, or by another ``noun``."""
    return words.replace("image", noun).replace("Image", noun.capitalize())


def class_names(space: "LatentSpace") -> list[str]:
    """A name for every class; of very many only the first."""
    return [visible(str(name)) for name in space.classes[:MAX_NAMES]]


def axis_names(scene: "Scene") -> list[str]:
    """What the plane's axes are; with one latent dimension the second one means nothing."""
    if scene.space.latent_dim == 1:
        return ["z1"]
    if scene.plane.projection is not None:
        return ["PC1", "PC2"] if scene.plane.exact else ["UMAP1", "UMAP2"]
    return [f"z{dim + 1}" for dim in scene.plane.dims]


def describe_space(scene: "Scene") -> str:
    """How many images in how many dimensions, what their posteriors are like, what is missing, and how it is shaded."""
    from dlwidgets.compute.latent_space import PCA

    space = scene.space
    plural = "" if space.latent_dim == 1 else "s"
    parts = [f"{counted(len(space.images), 'image')} in {space.latent_dim} latent dimension{plural}"]
    if space.classes:
        num_classes = len(space.classes)
        alike = f", the last {num_classes - MAX_COLORS + 1:,} in one colour" if num_classes > MAX_COLORS else ""
        parts.append(f"{num_classes:,} class{'' if num_classes == 1 else 'es'}{alike}")
    num_nowhere = int((~space.codes.isfinite()).any(1).sum())
    if space.mean_sd is not None and space.kl is not None:
        if space.moments is not None:
            num_infinite = int((~space.kl.isfinite()).sum())
            lost = f"KL not finite in {num_infinite} of {space.latent_dim} latent dimension{plural}"
            parts.append(lost if num_infinite else f"KL {number(float(space.kl.sum()))} nats over these images")
            parts.append(f"posterior standard deviation {number(space.mean_sd)}")
    else:
        parts.append("a deterministic encoder: no variances, no KL term")
    if not scene.plane.exact:
        parts.append("UMAP keeps neighbours, not distances, and its way back to codes is approximate")
    elif isinstance(scene.plane.projection, PCA):
        share = scene.plane.projection.explained_share
        parts.append(f"this plane holds {share:.0%} of the codes' variance")
    if num_nowhere:
        parts.append(f"{counted(num_nowhere, 'image')} not drawn, because the code is not finite")
    if space.num_invalid > num_nowhere:
        what = "posterior is not finite or" if space.posterior.stochastic else "code is"
        parts.append(f"{counted(space.num_invalid - num_nowhere, 'image')} not drawn, because the {what} beyond 1e30")
    return "; ".join(parts) + "." + (f" {scene.note}" if scene.note else "")


def of_model(words: str, back: bool) -> str:
    """What is true of the trained model, beside the points of an older epoch (``back``)."""
    return f"Of the trained model: {words}" if back and words else words


def describe_bars(finite: Any, index: int | None = None) -> str:
    """What the bars of the KL term are, the second ones those of the image ``index``, and which are missing, given for
    each dimension whether it is finite."""
    lost = [f"z{i + 1}" for i, known in enumerate(finite) if not known]
    own = "" if index is None else f" Pink: image {index}."
    return f"Blue: all images.{own}" + (f" Not finite: {', '.join(lost)}." if lost else "")


CONTOURS = (
    "Grey: the prior N(0, I) at 1, 2 and 3 standard deviations. Orange: the posteriors of all images together, at 2."
)


def describe_contours(scene: "Scene", only_prior: bool = False) -> str:
    """What the lines on the plane are."""
    if not scene.plane.exact:
        return "No contours: UMAP does not map ellipses to ellipses."
    if only_prior:
        return CONTOURS.partition(" Orange")[0]
    stochastic, moments = scene.space.posterior.stochastic, scene.space.moments
    words = CONTOURS if stochastic else CONTOURS.replace("posteriors", "codes")
    if moments is None:
        words = words.partition(" Orange")[0]
    elif len(scene.space.images) == 1:
        words = words.replace("s of all images together", " of this image")
    elif moments.num_left_out:
        words = words.replace("of all images", f"of all images but {moments.num_left_out:,}")
    return words + (" Pink: the posterior of the image at the probe, at 1 and 2." if stochastic else "")


def describe_problem(scene: "Scene") -> str:
    """Why nothing or not everything can be decoded; empty if all is well."""
    if scene.problem:
        return f"Nothing can be decoded: {visible(scene.problem)}"
    if scene.grid is not None and not bool(scene.grid.valid.all()):
        num_failed = int((~scene.grid.valid).sum())
        return f"The decoder gives no picture at {num_failed:,} of {len(scene.grid.valid):,} places of this plane."
    return ""


def describe_training(
    beta: float, epochs: int, state: "VAE | Snapshot | None", shown: int | None = None, waits: bool = False
) -> str:
    """Where a training is, or was after the epoch ``shown``, in nats on the held-out images."""
    if state is None:
        return f"β = {number(beta)}: " + ("waiting to be trained." if waits else "not trained.")
    if hasattr(state, "history"):
        epoch = epochs if shown is None else shown
        if epoch == 0:
            return f"β = {number(beta)}, epoch 0 of {epochs}: not trained."
        reconstruction, kl = float(state.history.reconstruction[epoch - 1]), float(state.history.kl[epoch - 1])
    else:
        epoch, reconstruction, kl = state.epoch, state.reconstruction, state.kl
    words = (
        f"β = {number(beta)}, epoch {epoch} of {epochs}, on held-out images: reconstruction {reconstruction:.1f}, "
        f"KL {kl:.1f}, ELBO {-(reconstruction + kl):.1f} nats."
    )
    return words.replace(" -", " −")


def describe_coverage(coverage: "ClassCoverage | None") -> str:
    """Which classes the prior finds."""
    if coverage is None:
        return "Samples of the prior N(0, I), decoded"
    found = coverage.num_classes(0.02)
    hold = "holds" if found == 1 else "hold"
    lost = f"; {coverage.num_failed:,} could not be decoded" if coverage.num_failed else ""
    if coverage.num_left_out:
        lost += f"; compared without {counted(coverage.num_left_out, 'image')} with values that are not finite"
    return (
        f"Samples of the prior N(0, I), decoded: of {coverage.num_samples:,} of them, "
        f"{found} of {len(coverage.classes)} classes {hold} 2 % or more by nearest image{lost}"
    )


def describe_use(report: "PriorReport") -> str:
    """How much of the latent space the images use."""
    parts = []
    if report.num_active is not None:
        plural = "" if report.num_latent == 1 else "s"
        parts.append(f"{report.num_active} of {report.num_latent} latent dimension{plural} active")
    if report.box is not None:
        parts.append(
            f"{report.box.share:.0%} of the box around the codes within {report.within:g} posterior standard "
            "deviations of one"
        )
    return f" The images' own codes: {'; '.join(parts)}." if parts else ""


def describe_failure(place: "Place | None") -> str:
    """What the decoder says where it gives no picture; empty where it gives one."""
    if place is None or not place.problem:
        return ""
    words = visible(place.problem)
    return f" No picture at the probe: {words if len(words) <= MAX_FAILURE else words[: MAX_FAILURE - 1] + '…'}."


def typed_code(text: str) -> tuple[float, ...]:
    """The numbers of a typed code, separated by commas or spaces."""
    parts = text.replace("−", "-").replace(",", " ").strip("() []").split()
    try:
        return tuple(float(part) for part in parts or [text])
    except ValueError as error:
        raise ValueError(f"z: expected numbers such as 0.3, -1.2, got {text[:80]!r}") from error


def spelled(code: Any) -> str:
    """A code as a person types it."""
    return ", ".join(number(0.0 if abs(value) < 1e-12 else float(value)) for value in code)
