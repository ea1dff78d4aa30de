"""Sensor recordings in, models that run at the edge out, with the proof that they do."""

__version__ = "0.1.0"
