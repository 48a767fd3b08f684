"""Losses: the sum of all values in float64 and, in the same pass, the gradient.

Shapes: N values, or N rows of C classes. `dp`, as large as `p`, receives the gradient of the *mean*.
Widening a float32 to float64 is exact, so all arithmetic here is float64 and `dp` is rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import kernel

# A float sum vectorises only if its order is written down: sum j takes the elements j, j + SUMS, ...
# Slices, not offsets: Numba would test each `start + lane` for a negative index.
SUMS = 256


@kernel
def squared_error(p, t, dp):
    """Sum of d^2, d = p - t. All (N,)."""
    n = p.size
    sums = np.zeros(SUMS)
    for start in range(0, n, SUMS):
        block = slice(start, start + SUMS)
        p_block, t_block, dp_block = p[block], t[block], dp[block]
        for lane in range(p_block.size):
            d = np.float64(p_block[lane]) - np.float64(t_block[lane])
            sums[lane] += d * d
            dp_block[lane] = 2.0 * d / n
    return sums.sum()


@kernel
def absolute_error(p, t, dp):
    """Sum of |d|, d = p - t. All (N,)."""
    n = p.size
    sums = np.zeros(SUMS)
    for start in range(0, n, SUMS):
        block = slice(start, start + SUMS)
        p_block, t_block, dp_block = p[block], t[block], dp[block]
        for lane in range(p_block.size):
            d = np.float64(p_block[lane]) - np.float64(t_block[lane])
            sums[lane] += abs(d)
            sign = 1.0 if d > 0.0 else (-1.0 if d < 0.0 else d)  # 0 at 0, NaN at NaN
            dp_block[lane] = sign / n
    return sums.sum()


@kernel
def huber(p, t, dp, delta):
    """Sum of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), d = p - t. All (N,)."""
    n = p.size
    sums = np.zeros(SUMS)
    for start in range(0, n, SUMS):
        block = slice(start, start + SUMS)
        p_block, t_block, dp_block = p[block], t[block], dp[block]
        for lane in range(p_block.size):
            d = np.float64(p_block[lane]) - np.float64(t_block[lane])
            a = abs(d)
            sums[lane] += 0.5 * d * d if a <= delta else delta * (a - 0.5 * delta)
            clamped = delta if d > delta else (-delta if d < -delta else d)
            dp_block[lane] = clamped / n
    return sums.sum()


@kernel
def binary_cross_entropy(p, t, dp):
    """Sum of softplus(p) - t p = -t log s - (1 - t) log(1 - s), s = sigmoid(p). All (N,)."""
    n = p.size
    total = 0.0
    for i in range(n):
        logit = np.float64(p[i])
        target = np.float64(t[i])
        e = math.exp(-abs(logit))  # never overflows
        positive = logit if logit > 0.0 else 0.0
        total += positive - logit * target + math.log1p(e)
        s = (1.0 if logit >= 0.0 else e) / (1.0 + e)
        dp[i] = (s - target) / n
    return total


@kernel
def cross_entropy(p, t, dp):
    """Sum over rows of log(sum_c exp p_c) - p_t. p, dp (N, C); t (N,), integers in 0 .. C - 1."""
    n, classes = p.shape
    total = 0.0
    for i in range(n):
        top = np.float64(p[i, 0])
        for c in range(1, classes):
            top = max(top, np.float64(p[i, c]))
        others = 0.0  # all classes but the target's: 1 - softmax_t without cancellation
        for c in range(classes):
            e = math.exp(np.float64(p[i, c]) - top)  # at most 1; NaN for a NaN or +inf
            dp[i, c] = e
            if c != t[i]:
                others += e
        target = np.float64(p[i, t[i]]) - top
        normalizer = others + math.exp(target)
        total += math.log1p(others) if target == 0.0 else math.log(normalizer) - target
        scale = 1.0 / (normalizer * n)
        for c in range(classes):
            dp[i, c] = np.float64(dp[i, c]) * scale
        dp[i, t[i]] = -others * scale
    return total
