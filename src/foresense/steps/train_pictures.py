"""Pictures of a trained group: forecasts beside the rivals', error by epoch, by horizon and by channel."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from foresense.evaluate import ErrorSums
from foresense.evaluate.plots import plot_error_by_channel, plot_error_by_step, plot_forecasts, plot_loss
from foresense.signals import Windows

N_SHOWN = 3  # windows of a picture, spread over the test part


def draw_group(
    folder: Path,
    windows: Windows,
    name: str,
    forecast: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rivals: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
    errors: ErrorSums,
    rival_errors: Mapping[str, ErrorSums],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Write `<group>-{forecast,loss,error-by-horizon,error-by-channel}.png` into `folder`."""
    plot_loss(folder / f"{windows.group}-loss.png", histories)
    starts = windows.starts["test"]
    chosen = starts[np.linspace(0, len(starts) - 1, min(N_SHOWN, len(starts))).astype(int)]
    batch = windows.gather(chosen)
    context, truth = batch[:, : windows.context], batch[:, windows.context :]
    nearest = sorted(rivals, key=lambda rival: rival_errors[rival].summary()["mse"])[:2]

    def physical(values: np.ndarray) -> np.ndarray:
        return windows.scaler.inverse(values, windows.channels)

    forecasts = {name: physical(forecast(context, chosen))}
    forecasts |= {rival: physical(rivals[rival](context, chosen)) for rival in nearest}
    interval_h = windows.interval_s / 3600
    plot_forecasts(
        folder / f"{windows.group}-forecast.png",
        title=f"{windows.group}: {windows.horizon * interval_h:g} hours ahead, beside two baselines",
        channels=windows.channels,
        units=windows.units,
        contexts=physical(context[:, -windows.horizon :]),
        truth=physical(truth),
        forecasts=forecasts,
        interval_h=interval_h,
    )
    by_step = {name: errors.squared_by_step.mean(1)}
    by_step |= {rival: found.squared_by_step.mean(1) for rival, found in rival_errors.items()}
    plot_error_by_step(folder / f"{windows.group}-error-by-horizon.png", by_step, interval_h)
    by_channel = {name: errors.squared.mean(0)} | {
        rival: found.squared.mean(0) for rival, found in rival_errors.items()
    }
    plot_error_by_channel(folder / f"{windows.group}-error-by-channel.png", by_channel, windows.channels)
