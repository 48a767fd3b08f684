"""Fit the polynomial q of `numgru.kernels.activations`: p(s) = e^s - 1 = s + s^2 q(s) for |s| <= ln 2 / 2.

Run: python -m tests.kernels.fit_expm1

Remez exchange on the relative error of p, with mpmath at 60 digits. Prints the coefficients, highest power first,
and the largest relative error.
"""

from __future__ import annotations

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60
# A little beyond ln 2 / 2: the rounded product with log2(e) can push s past the middle.
BOUND = mpmath.log(2) / 2 * (1 + mpf(2) ** -20)
POINTS = 4000


def _wanted(s: mpf) -> mpf:
    """The exact q: (e^s - 1 - s) / s^2, by its series near zero."""
    if abs(s) < mpf("1e-3"):
        return mpmath.fsum(s**k / mpmath.factorial(k + 2) for k in range(16))
    return (mpmath.expm1(s) - s) / s**2


def _weight(s: mpf) -> mpf:
    """An error of q weighs this much in the relative error of p."""
    return abs(s**2 / mpmath.expm1(s)) if s else mpf(0)


def fit(degree: int, rounds: int = 12) -> tuple[list[mpf], mpf]:
    """Coefficients of q, highest power first, and the largest relative error of p."""
    grid = [BOUND * mpmath.cos(mpmath.pi * k / POINTS) for k in range(POINTS, -1, -1)]
    grid = [s for s in grid if abs(s) > mpf("1e-6")]
    exact = [_wanted(s) for s in grid]
    weight = [_weight(s) for s in grid]
    count = degree + 2
    chosen = [round(i * (len(grid) - 1) / (count - 1)) for i in range(count)]
    for _ in range(rounds):
        rows = mpmath.matrix(count, count)
        right = mpmath.matrix(count, 1)
        for i, at in enumerate(chosen):
            for k in range(degree + 1):
                rows[i, k] = grid[at] ** (degree - k)
            rows[i, degree + 1] = (-1) ** i / weight[at]
            right[i] = exact[at]
        solution = mpmath.lu_solve(rows, right)
        coefficients = [solution[k] for k in range(degree + 1)]
        error = [w * (mpmath.polyval(coefficients, s) - e) for s, e, w in zip(grid, exact, weight, strict=True)]
        chosen = _extrema(error, count)
    return coefficients, max(abs(e) for e in error)


def _extrema(error: list[mpf], count: int) -> list[int]:
    """The largest errors of alternating sign."""
    best: list[int] = []
    for i, e in enumerate(error):
        if best and (e > 0) == (error[best[-1]] > 0):
            if abs(e) > abs(error[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    while len(best) > count:  # drop the weaker end
        best.pop(0 if abs(error[best[0]]) < abs(error[best[-1]]) else -1)
    if len(best) < count:
        raise RuntimeError(f"found {len(best)} alternations of {count}")
    return best


if __name__ == "__main__":
    for bits, degree in ((32, 4), (64, 9)):
        coefficients, error = fit(degree)
        print(f"float{bits}: relative error 2^{float(mpmath.log(error, 2)):.1f}")
        print("    " + ",\n    ".join(mpmath.nstr(c, 19) for c in coefficients))
