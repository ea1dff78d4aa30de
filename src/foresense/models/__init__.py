"""Catalog of model architectures, and the one way to build, save and load them."""

from foresense.models.catalog import MODELS, build_model, load_model, model_sha256, save_model

__all__ = ["MODELS", "build_model", "load_model", "model_sha256", "save_model"]
