"""Mean and maximum over time.

Shapes: T time, B batch, H features. Each sequence counts up to its own length.
    x, dx     (T * B, H)   row t * time + b * sequence is step t of sequence b
    y, dy     (B, H)
    lengths   (B,)         1 .. T
    peaks     (B, H)       the steps of the maxima
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel


@kernel
def mean(x, lengths, time, sequence, y):
    """y = sum over t of x_t / length: a chain over time in float64, rounded once."""
    sums = np.empty(x.shape[1])
    for b in range(lengths.size):
        sums[:] = 0.0
        for t in range(lengths[b]):
            x_t = x[t * time + b * sequence]
            for j in range(sums.size):
                sums[j] += x_t[j]
        for j in range(sums.size):
            y[b, j] = sums[j] / lengths[b]


@kernel
def mean_backward(dy, lengths, time, sequence, dx):
    """dx_t = dy / length; `dx` comes as zeros."""
    for b in range(lengths.size):
        first = dx[b * sequence]
        for j in range(first.size):
            first[j] = dy[b, j] / lengths[b]
        for t in range(1, lengths[b]):
            dx[t * time + b * sequence] = first


@kernel
def maximum(x, lengths, time, sequence, y, peaks):
    """y = max over t of x_t, first reached at `peaks`; NaN is larger than any number."""
    for b in range(lengths.size):
        y[b] = x[b * sequence]
        peaks[b] = 0
        for t in range(1, lengths[b]):
            x_t = x[t * time + b * sequence]
            for j in range(x_t.size):
                if x_t[j] > y[b, j] or (np.isnan(x_t[j]) and not np.isnan(y[b, j])):
                    y[b, j] = x_t[j]
                    peaks[b, j] = t


@kernel
def maximum_backward(dy, peaks, time, sequence, dx):
    """dx_t = dy at its peak; `dx` comes as zeros."""
    for b in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            dx[peaks[b, j] * time + b * sequence, j] = dy[b, j]
