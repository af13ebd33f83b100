"""Dropout: what it does exactly, by experiment, and in a user's own network."""

from dlwidgets.compute.dropout.activations import ACTIVATIONS
from dlwidgets.compute.dropout.combined import Combined, combine
from dlwidgets.compute.dropout.experiment import Sweep, sweep
from dlwidgets.compute.dropout.insertion import with_dropout
from dlwidgets.compute.dropout.simulation import Draws, Expected, Simulation, draw, expected, simulate
from dlwidgets.compute.dropout.sites import Dropouts, Run, Site, find_dropout
from dlwidgets.compute.dropout.uncertainty import MonteCarlo, monte_carlo

__all__ = [
    "ACTIVATIONS",
    "Combined",
    "Draws",
    "Dropouts",
    "Expected",
    "MonteCarlo",
    "Run",
    "Simulation",
    "Site",
    "Sweep",
    "combine",
    "draw",
    "expected",
    "find_dropout",
    "monte_carlo",
    "simulate",
    "sweep",
    "with_dropout",
]
