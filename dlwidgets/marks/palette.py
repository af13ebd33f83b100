"""Colours that people with any common colour blindness can tell apart."""

import bqplot

OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#000000")
"""Eight colours for classes (Okabe and Ito, Color Universal Design, 2008); twin of js/src/palette.ts."""

CIVIDIS = (
    "#002051",
    "#0a326a",
    "#2b446e",
    "#4d566d",
    "#696970",
    "#7f7c75",
    "#948f78",
    "#ada476",
    "#caba6a",
    "#ead156",
    "#fdea45",
)
"""Eleven steps from the least to the greatest number (Nuñez, Anderton and Renslow, PLOS ONE 13(7), 2018)."""

DIVERGING = ("#0072b2", "#7fb8d8", "#f7f7f7", "#eaae80", "#d55e00")
"""Blue for negative, white for zero, vermillion for positive numbers."""


def sequential_scale(**kwargs: object) -> bqplot.ColorScale:
    """A colour scale in `CIVIDIS`; keyword arguments as of `bqplot.ColorScale`, such as ``min`` and ``max``."""
    return bqplot.ColorScale(colors=list(CIVIDIS), **kwargs)


def diverging_scale(**kwargs: object) -> bqplot.ColorScale:
    """A colour scale in `DIVERGING` whose middle is 0; keyword arguments as of `bqplot.ColorScale`."""
    return bqplot.ColorScale(**{"colors": list(DIVERGING), "mid": 0.0, **kwargs})
