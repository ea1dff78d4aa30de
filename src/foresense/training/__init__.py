"""Loops and callbacks; knows no tracker, only the protocol `MetricSink`."""

from foresense.training.loop import FitPlan, FitResult, Objective, Progress, fit
from foresense.training.sinks import ListSink, MetricSink, NullSink

__all__ = ["FitPlan", "FitResult", "ListSink", "MetricSink", "NullSink", "Objective", "Progress", "fit"]
