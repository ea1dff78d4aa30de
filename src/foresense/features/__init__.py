"""Features of contexts: named numbers with units, one module per family; catalog FEATURES."""

from foresense.features.catalog import FEATURES, family_version, load_family
from foresense.features.contexts import Contexts, Family, Features, read_contexts
from foresense.features.table import Column, compute_features, read_columns, read_features

__all__ = [
    "FEATURES",
    "Column",
    "Contexts",
    "Family",
    "Features",
    "compute_features",
    "family_version",
    "load_family",
    "read_columns",
    "read_contexts",
    "read_features",
]
