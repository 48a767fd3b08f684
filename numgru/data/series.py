"""A series of numbers evenly spaced in time: the weekly CO2 record, or a column of a CSV file."""

from __future__ import annotations

import csv
import os
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import BoolArray, Float64Array

Dates = NDArray[np.datetime64]

_MISSING = {"", "na", "n/a", "nan", "null", "none"}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}  # of other files than ours
_LARGEST = 1e150  # of the values; forecasts may go beyond
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?")


class DataError(ValueError):
    """The data can't be used as asked; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Series:
    """Values at even distances in time, without gaps; the first and the last are measured.

    Attributes
    ----------
    name, unit, step : str
        What was measured, in which unit ("" if not known), and what lies between two values ("step" if not
        known).
    values : ndarray, shape (n,)
        float64, all finite.
    filled : ndarray of bool, shape (n,)
        Where there was no measurement and the value is interpolated. Such a value knows the next measurement.
    dates : ndarray of datetime64, shape (n,), or None
        Ascending; None if the file has none.
    season : int or None
        Steps after which the series repeats itself, if known.
    note : str
        How many gaps were filled and how, and whether dates are unevenly spaced.
    first_row : int
        Which row of the file the first value is from; the first is 0.

    Raises
    ------
    DataError
        If an end isn't measured, or values are too large to compute with.
    """

    name: str
    values: Float64Array
    filled: BoolArray
    dates: Dates | None = None
    season: int | None = None
    unit: str = ""
    step: str = "step"
    note: str = ""
    first_row: int = 0

    def __post_init__(self) -> None:
        if not len(self) or self.filled[0] or self.filled[-1]:
            raise DataError(f"{self.name}: expected a measured value at both ends; cut off what lies beyond them")
        if not (largest := np.abs(self.values).max()) < _LARGEST:
            raise DataError(
                f"{self.name}: expected values below {_LARGEST:g}, got one of {largest:g}; give them in a larger unit"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def measured(self) -> Float64Array:
        """The values with NaN where there was no measurement."""
        return np.where(self.filled, np.nan, self.values)

    def crc32(self) -> int:
        """Tells this series from others by its values and gaps."""
        return zlib.crc32(self.filled.tobytes(), zlib.crc32(self.values.tobytes()))


def load_co2() -> Series:
    """Weekly CO2 at Mauna Loa, 1958 to 2001, in ppm (Keeling and Whorf; README.md names source and licence).

    Returns
    -------
    Series
        2284 weeks, dates as datetime64[D]; the 59 weeks without a measurement are interpolated.
    """
    series = read_csv(Path(__file__).with_name("co2.csv"), "co2")
    return replace(series, name="CO2 at Mauna Loa", unit="ppm", step="week", season=52)


def read_csv(path: str | os.PathLike[str], column: str | None = None) -> Series:
    """Read one column of a comma-separated file whose first line names the columns.

    Gaps (empty, NaN, NA, null) between measurements are interpolated linearly; those before the first and
    after the last measurement are cut off. If there is only one column, an empty line is a gap, too. The first other
    column made of ISO dates (2001-12-29, 2001-12, 2001-12-29 13:00) becomes the dates.

    Parameters
    ----------
    path : path
        The file, in UTF-8.
    column : str, optional
        The column to read; may be left out if there is only one besides the dates.

    Returns
    -------
    Series

    Raises
    ------
    DataError
        If the file is missing, empty or no text, if its first line doesn't name the columns or has no such one, if a
        cell of it holds no finite number, if most cells of another column are dates but not all, or if the dates don't
        ascend.
    """
    header, rows, lines = _read_rows(path)
    dates_at = _find_dates(path, header, rows, lines, column)
    values_at = _find_column(path, header, column, dates_at)
    if column is None and _is_number(header[values_at]):
        raise DataError(
            f"{path}, line 1: expected the names of the columns, got {header[values_at]!r}, which is a number; "
            "put a line of names above it, or name that column"
        )
    values = np.array(
        [_number(path, header[values_at], row[values_at], line) for row, line in zip(rows, lines, strict=True)]
    )
    dates = None if dates_at is None else np.array([row[dates_at].strip() for row in rows], "datetime64")
    if dates is not None and (late := np.flatnonzero(dates[1:] <= dates[:-1])).size:
        raise DataError(
            f"{path}, line {lines[late[0] + 1]}: expected dates that ascend, got {dates[late[0] + 1]} "
            f"after {dates[late[0]]}; sort the rows by {header[dates_at or 0]!r}"
        )
    measured = np.flatnonzero(~np.isnan(values))
    if measured.size == 0:
        raise DataError(f"{path}: expected numbers in column {header[values_at]!r}, got only gaps")
    kept = slice(measured[0], measured[-1] + 1)
    dates = None if dates is None else dates[kept]
    filled = np.isnan(values[kept])
    return Series(
        name=header[values_at],
        values=np.interp(np.arange(kept.start, kept.stop), measured, values[measured]),
        filled=filled,
        dates=dates,
        note=_note(filled, len(values) - len(filled), dates),
        first_row=int(kept.start),
    )


def next_dates(dates: Dates, count: int) -> Dates | None:
    """The `count` dates that continue `dates`, or None if those are unevenly spaced.

    Calendar months are even although their lengths are not: dates on the same day of the month, or on its last day
    where it's shorter, go on so, and dates that are all last days of their months with last days.
    """
    if len(dates) < 2:
        return None
    ahead = np.arange(1, count + 1)
    continued: Dates
    months, days = dates.astype("datetime64[M]"), dates.astype("datetime64[D]")
    step, day, time = months[1] - months[0], days - months.astype("datetime64[D]"), dates - days
    usual = np.timedelta64(30, "D") if (day == _last_day(months)).all() else day.max()
    on_the_day = (day == np.minimum(usual, _last_day(months))).all() and (time == time[0]).all()
    if on_the_day and months[1] > months[0] and (np.diff(months) == step).all():
        following = months[-1] + step * ahead
        continued = following.astype("datetime64[D]") + np.minimum(usual, _last_day(following)) + time[0]
        return continued.astype(dates.dtype)
    steps = np.diff(dates)
    if not (steps == steps[0]).all():
        return None
    continued = dates[-1] + steps[0] * ahead
    return continued


def _last_day(months: Dates) -> NDArray[np.timedelta64]:
    """How long after the first day of each month its last one is."""
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    last: NDArray[np.timedelta64] = following - months.astype("datetime64[D]") - np.timedelta64(1, "D")
    return last


def _read_rows(path: str | os.PathLike[str]) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows and the line on which each row ends.

    Of one column, an empty line is an empty cell; of more, it is left out. At the end of the file it is always.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            numbered = [(row, reader.line_num) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file in UTF-8, got something else ({error})") from error
    at = [i for i, (row, _) in enumerate(numbered) if row]
    numbered = numbered[at[0] : at[-1] + 1] if at else []
    if len(numbered) < 2:
        raise DataError(
            f"{path}: expected a header line and rows below it, got {'one line' if numbered else 'nothing'}"
        )
    header = [name.strip() for name in numbered[0][0]]
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and separator in header[0] and separator in ",".join(numbered[1][0]):
            raise DataError(
                f"{path}: expected commas between the cells, got {name}; write commas there, and decimals with a point"
            )
    numbered = [(row or [""], line) for row, line in numbered[1:] if row or len(header) == 1]
    for row, line in numbered:
        if len(row) != len(header):
            cells = "cell" if len(header) == 1 else "cells"
            hint = "; write decimals with a point" if len(row) > len(header) else ""
            raise DataError(
                f"{path}, line {line}: expected {len(header)} {cells} as in the header, got {len(row)}{hint}"
            )
    return header, [row for row, _ in numbered], [line for _, line in numbered]


def _find_dates(
    path: Any, header: list[str], rows: list[list[str]], lines: list[int], column: str | None
) -> int | None:
    """The first column of dates, other than `column`."""
    almost = None
    for i, name in enumerate(header):
        are_dates = [name != column and _is_date(row[i].strip()) for row in rows]
        if all(are_dates):
            return i
        if almost is None and sum(are_dates) > len(rows) / 2:
            almost = i, are_dates.index(False)
    if almost is not None:
        i, bad = almost
        raise DataError(
            f"{path}, line {lines[bad]}: expected a date in column {header[i]!r}, as 2001-12-29, 2001-12 or "
            f"2001-12-29 13:00, got {rows[bad][i].strip()!r}; correct the cell or leave out that column"
        )
    return None


def _find_column(path: Any, header: list[str], column: str | None, dates_at: int | None) -> int:
    names = ", ".join(repr(name) for name in header)
    if column is None:
        others = [i for i in range(len(header)) if i != dates_at]
        if len(others) != 1:
            raise DataError(f"{path}: which column is to be read? The file has {names}")
        return others[0]
    if header.count(column) != 1:
        problem = "no column" if column not in header else "more than one column"
        raise DataError(f"{path}: {problem} {column!r}; the file has {names}; name one of its columns")
    return header.index(column)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        np.datetime64(text)
    except ValueError:  # the form of a date, but month 13
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows


def _number(path: Any, column: str, cell: str, line: int) -> float:
    text = cell.strip()
    if text.lower() in _MISSING:
        return np.nan
    if not _is_number(text) or not np.isfinite(value := float(text)):
        hint = "correct the cell or leave it empty"
        if (digits := re.sub("[,_' ]", "", text)) != text and _is_number(digits):
            hint = "write decimals with a point, and thousands without a separator"
        raise DataError(f"{path}, line {line}: expected a number in column {column!r}, got {text!r}; {hint}")
    return value


def _note(filled: BoolArray, cut: int, dates: Dates | None) -> str:
    gaps = int(np.count_nonzero(np.diff(filled.astype(np.int8)) == 1))
    were, in_gaps = "was" if filled.sum() == 1 else "were", "one gap" if gaps == 1 else f"{gaps} gaps"
    parts = [f"{filled.sum()} of {filled.size} values {were} missing, in {in_gaps}: interpolated linearly"]
    if not filled.any():
        parts = [f"{filled.size} values, none missing"]
    if cut:
        parts.append(f"{cut} empty {'row' if cut == 1 else 'rows'} at the ends cut off")
    if dates is not None and len(dates) > 1 and next_dates(dates, 1) is None:
        parts.append("the dates are unevenly spaced and only the order of the rows counts")
    return "; ".join(parts)
