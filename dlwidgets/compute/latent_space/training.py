"""A small variational autoencoder and its training, with the latent space of every epoch kept."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from dlwidgets.compute.context import Cancelled, Context, require, tick
from dlwidgets.compute.device import choose_device
from dlwidgets.compute.latent_space.evidence import cross_entropy
from dlwidgets.compute.latent_space.inputs import as_count, as_labels, as_number, as_unit_images, generator, shape
from dlwidgets.compute.latent_space.untouched import own_precision

_BATCH = 100
_LEARNING_RATE = 2e-3
_EVALUATION_BATCH = 4096
_INIT, _SPLIT, _TRAIN, _EVALUATE = range(4)  # streams of random numbers that one seed gives


class MLPAutoencoder(nn.Module):
    """The default variational autoencoder: n-256-128-2d and d-128-256-n with ReLU, meant for images up to 32x32.

    ``decode`` gives grey values in (0, 1). Weights and biases are uniform in ±1/sqrt(fan_in), nn.Linear's own rule.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, source: torch.Generator) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.latent_dim = latent_dim
        num_values = math.prod(image_shape)
        self.encoder = _mlp((num_values, 256, 128, 2 * latent_dim), source)
        self.decoder = _mlp((latent_dim, 128, 256, num_values), source)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (batch, latent) of the posteriors of images (batch, *image_shape)."""
        mean, log_variance = self.encoder(images.flatten(1).to(torch.float32)).chunk(2, dim=1)
        return mean, log_variance

    def logits(self, codes: Tensor) -> Tensor:
        """Logits (batch, value) of the grey values of codes (batch, latent)."""
        return self.decoder(codes.to(torch.float32))

    def decode(self, codes: Tensor) -> Tensor:
        """Pictures (batch, *image_shape) of codes (batch, latent)."""
        return torch.sigmoid(self.logits(codes)).reshape(-1, *self.image_shape)


@dataclass(frozen=True, eq=False)
class History:
    """What each epoch achieved on the held-out images: averages over the images in nats, float64.

    The expectation over z ~ q(z|x) is estimated with two antithetic draws an image, the same ones in every epoch.
    """

    reconstruction: Float[Tensor, "epoch"]  # cross-entropy of the grey values, positive, smaller is better
    kl: Float[Tensor, "epoch"]  # KL(q(z|x) || N(0, I))

    @property
    def elbo(self) -> Float[Tensor, "epoch"]:
        """-(reconstruction + kl), without beta: a lower bound of log p(x) for binary images, else up to a constant."""
        return -(self.reconstruction + self.kl)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state after an epoch (0: before training), for a context that has a method ``publish``."""

    epoch: int
    codes: Float[Tensor, "sample latent"]  # posterior means of the training images
    reconstruction: float  # on the held-out images, as in History
    kl: float
    autoencoder: MLPAutoencoder  # a copy of its own


@dataclass(frozen=True, eq=False)
class VAE:
    """A trained variational autoencoder and how its latent space formed."""

    autoencoder: MLPAutoencoder  # on the CPU, in eval mode, its parameters frozen (requires_grad False)
    codes: Float[Tensor, "epoch sample latent"]  # posterior means of the training images; row 0 before training
    history: History
    train_index: Int[Tensor, "sample"]  # which of the given images were trained on, ascending: the order of codes
    held_out_index: Int[Tensor, "held_out"]  # which of them were held out; empty if held_out was given
    classes: tuple[Any, ...]  # the distinct labels, sorted; empty without labels
    labels: Int[Tensor, "sample"] | None  # for each training image the index of its label in classes
    mean_image_elbo: float  # of a decoder that knows only the training images' mean: what a collapsed VAE achieves
    beta: float


def train_vae(
    images: Any,
    labels: Any = None,
    *,
    latent_dim: int = 2,
    beta: float = 1.0,
    epochs: int = 50,
    seed: int = 0,
    held_out: Any = None,
    device: torch.device | str | None = None,
    context: Context | None = None,
    kl_warm_up: int = 0,
) -> VAE:
    """Train a variational autoencoder (Kingma & Welling 2014; beta: Higgins et al. 2017), keeping every epoch's codes.

    The loss is the cross-entropy on the grey values plus ``beta`` times the KL term, in nats, averaged over a batch of
    100; Adam at 2e-3 on an `MLPAutoencoder`. For grey values the cross-entropy gives a bound up to a constant, not the
    log density of the images.

    ``images``: floats in [0, 1], (sample, *shape), a tensor or a numpy array. ``labels``: an integer or a string for
    each; not used in training, only split along with the images. ``held_out``: other images of the same shape to
    measure on, or None: a random sixth of ``images``. ``device``: None is the CPU. ``kl_warm_up``: number of epochs
    over which beta rises linearly from 0; 0 is off.

    On the CPU the same seed (and number of threads) gives the same result, also under a caller's autocast; all random
    numbers come from generators of its own, the global ones are neither used nor changed. ``context`` hears of every
    epoch and is asked before every epoch and batch whether to stop (then `Cancelled` is raised). If it also has a
    method ``publish``, that is called with a `Snapshot` before training and after every epoch; snapshots are
    independent of what comes later and can be pickled, so they may travel between processes.

    Raises TypeError for the wrong kind of argument; ValueError for values outside [0, 1], NaN, shapes or lengths that
    do not fit, a single image without ``held_out``, and numbers out of range.
    """
    given = as_unit_images(images, "images")
    latent_dim, epochs = as_count(latent_dim, "latent_dim"), as_count(epochs, "epochs", 0)
    beta, kl_warm_up = as_number(beta, "beta"), as_count(kl_warm_up, "kl_warm_up", 0)
    classes, label_index = ((), None) if labels is None else as_labels(labels, len(given))
    train_index, held_out_index = _split(len(given), held_out, seed)
    train = given[train_index]
    measured = given[held_out_index] if held_out is None else as_unit_images(held_out, "held_out")
    if measured.shape[1:] != train.shape[1:]:
        raise ValueError(f"held_out: expected images of shape {shape(train)[1:]}, got {shape(measured)[1:]}")
    target = choose_device("cpu" if device is None else device)
    if target.type == "meta":
        raise ValueError("device: expected one that holds values, got 'meta'")
    with torch.inference_mode(False), torch.enable_grad(), own_precision():
        codes = torch.empty(epochs + 1, len(train), latent_dim, dtype=torch.float32, device="cpu")
        scores = torch.empty(epochs + 1, 2, dtype=torch.float64, device="cpu")
        model = MLPAutoencoder(shape(train)[1:], latent_dim, generator(seed, _INIT)).to(target)
        # A clone: inside a caller's inference mode the images would be unusable for training.
        require(context)
        trainer = _Trainer(model, train.flatten(1).to(target).clone(), seed, context)
        evaluation = _Evaluation(measured.flatten(1).to(target), latent_dim, seed)
        for epoch in range(epochs + 1):
            _stop_if_asked(context)
            if epoch > 0:
                trainer.run_epoch(beta * min(1.0, epoch / kl_warm_up) if kl_warm_up else beta)
            codes[epoch] = _means(model, trainer.images)
            scores[epoch, 0], scores[epoch, 1] = evaluation(model)
            _publish(context, epoch, codes[epoch], scores[epoch].tolist(), model)
            if epoch > 0:
                tick(context, epoch / epochs, f"epoch {epoch} of {epochs}: ELBO {-float(scores[epoch].sum()):.2f} nats")
    mean_image = train.double().mean(0).flatten()
    return VAE(
        autoencoder=model.cpu().eval().requires_grad_(False),
        codes=codes,
        history=History(scores[1:, 0].clone(), scores[1:, 1].clone()),
        train_index=train_index,
        held_out_index=held_out_index,
        classes=classes,
        labels=None if label_index is None else label_index[train_index],
        mean_image_elbo=-float(cross_entropy(mean_image, measured.flatten(1)).mean()),
        beta=beta,
    )


def check_training(
    images: Any, labels: Any, *, beta: Any, epochs: Any, seed: Any, latent_dim: Any, held_out: Any
) -> tuple[float, dict[str, Any]]:
    """Refuse what `train_vae` would refuse, before anything is made; beta, and the other options checked."""
    given = as_unit_images(images, "images")
    if labels is not None:
        as_labels(labels, len(given))
    options = {
        "epochs": as_count(epochs, "epochs", 0),
        "seed": seed,
        "latent_dim": as_count(latent_dim, "latent_dim"),
        "held_out": held_out,
    }
    _split(len(given), held_out, seed)
    if held_out is not None and as_unit_images(held_out, "held_out").shape[1:] != given.shape[1:]:
        raise ValueError(f"held_out: expected images of shape {shape(given)[1:]}, got {shape(held_out)[1:]}")
    return as_number(beta, "beta"), options


class _Trainer:
    """One epoch of Adam at a time."""

    def __init__(
        self, model: MLPAutoencoder, images: Float[Tensor, "sample value"], seed: int, context: Context | None
    ) -> None:
        self.model, self.images, self.context = model, images, context
        self.source = generator(seed, _TRAIN)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE, fused=True)

    def run_epoch(self, beta: float) -> None:
        # The random numbers of an epoch at once, drawn on the CPU: the same ones on every device.
        size = (len(self.images), self.model.latent_dim)
        order = torch.randperm(len(self.images), generator=self.source, device="cpu")
        noise = torch.randn(size, generator=self.source, dtype=torch.float32, device="cpu").to(self.images.device)
        shuffled = self.images[order.to(self.images.device)]
        for x, epsilon in zip(shuffled.split(_BATCH), noise.split(_BATCH), strict=True):
            _stop_if_asked(self.context)
            mean, log_variance = self.model.encode(x)
            logits = self.model.logits(mean + torch.exp(0.5 * log_variance) * epsilon)
            loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            if beta > 0:
                loss = loss + beta * _kl(mean, log_variance).sum()
            self.optimizer.zero_grad()
            (loss / len(x)).backward()
            self.optimizer.step()


class _Evaluation:
    """Reconstruction and KL of held-out images, with fixed draws."""

    def __init__(self, images: Float[Tensor, "sample value"], latent_dim: int, seed: int) -> None:
        self.images = images
        noise = torch.randn(
            len(images), latent_dim, generator=generator(seed, _EVALUATE), dtype=torch.float32, device="cpu"
        )
        self.noise = noise.to(images.device)

    @torch.no_grad()
    def __call__(self, model: MLPAutoencoder) -> tuple[float, float]:
        reconstruction = kl = 0.0
        for x, epsilon in zip(self.images.split(_EVALUATION_BATCH), self.noise.split(_EVALUATION_BATCH), strict=True):
            mean, log_variance = model.encode(x)
            spread = torch.exp(0.5 * log_variance) * epsilon
            for codes in (mean + spread, mean - spread):
                entropy = F.binary_cross_entropy_with_logits(model.logits(codes), x, reduction="none")
                reconstruction += float(entropy.double().sum()) / 2
            kl += float(_kl(mean.double(), log_variance.double()).sum())
        return reconstruction / len(self.images), kl / len(self.images)


def _stop_if_asked(context: Context | None) -> None:
    if context is not None and context.cancelled():
        raise Cancelled("training")


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every dimension."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


@torch.no_grad()
def _means(model: MLPAutoencoder, images: Float[Tensor, "sample value"]) -> Float[Tensor, "sample latent"]:
    return torch.cat([model.encode(x)[0].cpu() for x in images.split(_EVALUATION_BATCH)])


def _publish(context: Any, epoch: int, codes: Tensor, scores: list[float], model: MLPAutoencoder) -> None:
    publish: Callable[[Snapshot], None] | None = getattr(context, "publish", None)
    if publish is not None:
        copied = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        copied.zero_grad(set_to_none=True)
        publish(Snapshot(epoch, codes.clone(), scores[0], scores[1], copied))


def _split(num_images: int, held_out: Any, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train on and to hold out: none, or a random sixth (rounded, at least one)."""
    if held_out is not None:
        everything = torch.arange(num_images, dtype=torch.int64, device="cpu")
        return everything, everything[:0]
    if num_images < 2:
        raise ValueError("images: one image cannot be split into training and held-out images; give held_out as well")
    order = torch.randperm(num_images, generator=generator(seed, _SPLIT), device="cpu")
    num_held_out = max(1, round(num_images / 6))
    return order[num_held_out:].sort().values, order[:num_held_out].sort().values


def _mlp(sizes: tuple[int, ...], source: torch.Generator) -> nn.Sequential:
    return nn.Sequential(*_layers(sizes, source))


def _layers(sizes: tuple[int, ...], source: torch.Generator) -> Iterator[nn.Module]:
    for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        if i > 0:
            yield nn.ReLU()
        # skip_init: the constructor's own initialisation would draw from the global random state
        linear = nn.utils.skip_init(nn.Linear, num_in, num_out, dtype=torch.float32, device="cpu")
        bound = 1 / math.sqrt(num_in)
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=source)
        yield linear
