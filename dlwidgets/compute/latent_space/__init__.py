"""The latent space of an autoencoder: training a small VAE, and measuring any autoencoder that a user brings.

Codes are rows (sample, latent). The functions take the autoencoder in any form that `Autoencoder` describes, run it in
eval mode without gradients, and leave modules and random states as they were.
"""

from dlwidgets.compute.latent_space.autoencoder import Autoencoder, Coder, bind, decode, reconstruct
from dlwidgets.compute.latent_space.contours import contour
from dlwidgets.compute.latent_space.coverage import (
    ClassCoverage,
    Coverage,
    Distance,
    box_coverage,
    class_coverage,
    posterior_distance,
)
from dlwidgets.compute.latent_space.decoding import (
    Path,
    decode_grid,
    grid_codes,
    interpolate,
    latent_box,
    prior_quantiles,
)
from dlwidgets.compute.latent_space.evidence import Evidence, cross_entropy, log_likelihood
from dlwidgets.compute.latent_space.posterior import (
    Moments,
    Posterior,
    active_units,
    aggregated_posterior,
    posterior,
)
from dlwidgets.compute.latent_space.projection import PCA, UMAP, Projection, fit_pca, fit_umap
from dlwidgets.compute.latent_space.training import VAE, History, MLPAutoencoder, Snapshot, train_vae

__all__ = [
    "PCA",
    "UMAP",
    "VAE",
    "Autoencoder",
    "ClassCoverage",
    "Coder",
    "Coverage",
    "Distance",
    "Evidence",
    "History",
    "MLPAutoencoder",
    "Moments",
    "Path",
    "Posterior",
    "Projection",
    "Snapshot",
    "active_units",
    "aggregated_posterior",
    "bind",
    "box_coverage",
    "class_coverage",
    "contour",
    "cross_entropy",
    "decode",
    "decode_grid",
    "fit_pca",
    "fit_umap",
    "grid_codes",
    "interpolate",
    "latent_box",
    "log_likelihood",
    "posterior",
    "posterior_distance",
    "prior_quantiles",
    "reconstruct",
    "train_vae",
]
