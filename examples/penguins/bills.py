"""Bills of penguins: reading what was measured, and how much deeper a longer bill is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

COLUMNS = {
    "Species": "species",
    "Sex": "sex",
    "Culmen Length (mm)": "length",
    "Culmen Depth (mm)": "depth",
}
RESAMPLES = 2000
SEED = 1


def read_birds(path: str) -> pd.DataFrame:
    """Read the birds whose bill was measured and whose sex is known."""
    birds = pd.read_csv(path, usecols=list(COLUMNS)).rename(columns=COLUMNS)
    birds["species"] = short_names(birds["species"])
    birds["sex"] = birds["sex"].str.lower()
    return birds.dropna().reset_index(drop=True)


def short_names(species: pd.Series) -> pd.Series:
    """Shorten "Adelie Penguin (Pygoscelis adeliae)" to "Adelie"."""
    return species.str.split().str[0]


def fit(birds: pd.DataFrame, within: Sequence[str] = ()) -> dict[str, float]:
    """Fit depth on length among birds that are alike in the columns `within`."""
    group = birds.groupby(list(within)).ngroup().to_numpy() if within else np.zeros(len(birds), int)
    length, depth = birds["length"].to_numpy(), birds["depth"].to_numpy()
    low, high = interval(length, depth, group)
    return {"birds": len(birds), "slope": slope(length, depth, group), "low": low, "high": high}


def slope(length: np.ndarray, depth: np.ndarray, group: np.ndarray) -> float:
    """Return the least squares slope that all groups share, each with an intercept of its own."""
    x, y = centre(length, group), centre(depth, group)
    return float(x @ y / (x @ x))


def interval(length: np.ndarray, depth: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Return the middle 95% of the slopes of resampled birds (the bootstrap)."""
    draws = np.random.default_rng(SEED).integers(len(length), size=(RESAMPLES, len(length)))
    slopes = [slope(length[draw], depth[draw], group[draw]) for draw in draws]
    low, high = np.quantile(slopes, [0.025, 0.975])
    return float(low), float(high)


def centre(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Take its group's mean out of each value."""
    sizes = np.maximum(np.bincount(group), 1)  # a resample may have missed a small group
    return values - (np.bincount(group, weights=values) / sizes)[group]
