"""A small real data set, and what it takes to forecast a series."""

from .series import DataError, Series, load_co2, read_csv

__all__ = ["DataError", "Series", "load_co2", "read_csv"]
