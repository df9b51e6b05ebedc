"""What a person gets to see: the table of slopes and the figure."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Fit = Mapping[str, float]

COLOURS = {"Adelie": "#e07b39", "Chinstrap": "#8e5ea2", "Gentoo": "#1b8a8f"}
INK, GREY = "#2b2b2b", "#8a8a8a"
STYLE = {
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def table_of(fits: Mapping[str, Fit]) -> str:
    """Return the slopes as a Markdown table."""
    head = "| birds compared | birds | mm deeper per 10 mm longer | 95% interval |\n"
    return f"{head}| --- | ---: | ---: | ---: |\n" + "".join(
        f"| {name} | {fit['birds']} | {per_centimetre(fit['slope'])} "
        f"| {per_centimetre(fit['low'])} to {per_centimetre(fit['high'])} |\n"
        for name, fit in fits.items()
    )


def per_centimetre(slope: float) -> str:
    """Write a slope in mm per mm as mm per 10 mm, signed."""
    return f"{10 * slope:+.2f}".replace("-", "\N{MINUS SIGN}")


def figure_of(birds: pd.DataFrame, fits: Mapping[str, Fit], path: str) -> None:
    """Draw the birds together, the birds by species, and every slope; save it as `path`."""
    with mpl.rc_context(STYLE):
        # A Figure of our own and not pyplot's: it draws with Agg and needs no screen.
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        together, apart, slopes = figure.subplots(1, 3)
        draw_together(together, birds, fits["all together"])
        draw_apart(apart, birds, fits)
        draw_slopes(slopes, fits)
        apart.sharey(together)
        together.margins(y=0.14)
        figure.savefig(path, dpi=150)


def draw_together(axes: Axes, birds: pd.DataFrame, fit: Fit) -> None:
    """Draw all birds in one colour, with the line that ignores their species."""
    axes.scatter(birds["length"], birds["depth"], s=16, color=GREY, alpha=0.55, linewidths=0)
    draw_line(axes, birds, fit, INK)
    axes.set_title("All together: longer bills are shallower")
    axes.set(xlabel="bill length (mm)", ylabel="bill depth (mm)")


def draw_apart(axes: Axes, birds: pd.DataFrame, fits: Mapping[str, Fit]) -> None:
    """Draw each species in its colour, with its own line and its name beside it."""
    for species, colour in COLOURS.items():
        own = birds[birds["species"] == species]
        axes.scatter(own["length"], own["depth"], s=16, color=colour, alpha=0.6, linewidths=0)
        draw_line(axes, own, fits[species], colour)
        draw_name(axes, own, species)
    axes.set_title("By species: longer bills are deeper")
    axes.set(xlabel="bill length (mm)")


def draw_line(axes: Axes, birds: pd.DataFrame, fit: Fit, colour: str) -> None:
    """Draw the fitted line over the birds' range, with the fan of its slope's interval."""
    length = np.linspace(birds["length"].min(), birds["length"].max(), 50)
    middle, away = birds["depth"].mean(), length - birds["length"].mean()
    axes.fill_between(
        length,
        middle + fit["low"] * away,
        middle + fit["high"] * away,
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(length, middle + fit["slope"] * away, color=colour, linewidth=2)


def draw_name(axes: Axes, birds: pd.DataFrame, species: str) -> None:
    """Write the species' name where no bird is: above the two deep-billed ones, below the other."""
    above = species != "Gentoo"
    y = birds["depth"].max() + 0.3 if above else birds["depth"].min() - 0.3
    axes.text(
        birds["length"].mean(),
        y,
        species,
        color=COLOURS[species],
        weight="bold",
        ha="center",
        va="bottom" if above else "top",
    )


def draw_slopes(axes: Axes, fits: Mapping[str, Fit]) -> None:
    """Draw each slope as a point with its interval, the first on top."""
    for row, (name, fit) in enumerate(fits.items()):
        colour = COLOURS.get(name, INK)
        axes.plot([10 * fit["low"], 10 * fit["high"]], [row, row], color=colour, linewidth=2)
        axes.plot(10 * fit["slope"], row, "o", color=colour, markersize=7)
    axes.axvline(0, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(fits)), list(fits))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title("The sign depends on who is compared")
    axes.set(xlabel="mm deeper per 10 mm longer (95% interval)")
