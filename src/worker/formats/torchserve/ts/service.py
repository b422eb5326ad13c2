"""Some handlers import PredictionException from here."""

from .utils.util import PredictionException

__all__ = ["PredictionException"]
