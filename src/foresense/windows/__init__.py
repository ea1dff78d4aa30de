"""From recordings to windows: resample, split, impute, scale, index."""

from foresense.windows.build import build_windows, write_windows
from foresense.windows.impute import Imputed, interpolate_short_gaps
from foresense.windows.index import Starts, count_blocks, window_starts
from foresense.windows.scale import constant_channels, fit_scaler
from foresense.windows.split import Cuts, cut_rows

__all__ = [
    "Cuts",
    "Imputed",
    "Starts",
    "build_windows",
    "constant_channels",
    "count_blocks",
    "cut_rows",
    "fit_scaler",
    "interpolate_short_gaps",
    "window_starts",
    "write_windows",
]
