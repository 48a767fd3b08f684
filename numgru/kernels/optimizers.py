"""One step of each optimizer: one pass in place over flat buffers, which threads share.

Shapes: `p` parameters, `g` gradients and all state (N,), of one dtype; every scalar of that dtype too, since
a float64 among float32 operands would widen them all. A state that isn't in use has length 0.

Gradients are g times `scale`: what clipping multiplies them by is done here, so that they aren't read twice.
What is stored is not read again: it's computed with from the registers that it came from.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._jit import piece, shared_kernel
from .threads import share

CHUNK = 4096  # numbers: shares are multiples of so many


@shared_kernel
def sgd(p, g, scale, velocity, lr, momentum, weight_decay, nesterov, parts):
    """One step: v = momentum v + g, p -= lr v; Nesterov: p -= lr (g + momentum v)."""
    for part in prange(parts):
        a, b = share(p.size, part, parts, CHUNK)
        _sgd(p[a:b], g[a:b], scale, velocity[a:b], lr, momentum, weight_decay, nesterov)


@piece
def _sgd(p, g, scale, velocity, lr, momentum, weight_decay, nesterov):
    for i in range(p.size):
        step = g[i] * scale + weight_decay * p[i]
        if velocity.size:
            v = momentum * velocity[i] + step
            velocity[i] = v
            step = step + momentum * v if nesterov else v
        p[i] -= lr * step


@shared_kernel
def rmsprop(p, g, scale, square_avg, velocity, lr, alpha, one_minus_alpha, eps, momentum, weight_decay, parts):
    """One step: s = alpha s + (1 - alpha) g^2, u = g / (sqrt(s) + eps), v = momentum v + u, p -= lr v."""
    for part in prange(parts):
        a, b = share(p.size, part, parts, CHUNK)
        of_part = p[a:b], g[a:b], scale, square_avg[a:b], velocity[a:b]
        _rmsprop(*of_part, lr, alpha, one_minus_alpha, eps, momentum, weight_decay)


@piece
def _rmsprop(p, g, scale, square_avg, velocity, lr, alpha, one_minus_alpha, eps, momentum, weight_decay):
    for i in range(p.size):
        gradient = g[i] * scale + weight_decay * p[i]
        s = alpha * square_avg[i] + one_minus_alpha * gradient * gradient
        square_avg[i] = s
        step = gradient / (np.sqrt(s) + eps)
        if velocity.size:
            step += momentum * velocity[i]
            velocity[i] = step
        p[i] -= lr * step


@shared_kernel
def adam(
    p, g, scale, exp_avg, exp_avg_sq, step_size, one_minus_beta1, beta2, one_minus_beta2, eps, l2, keep, parts
):  # fmt: skip
    """One step: m += (1 - beta1)(g - m), s = beta2 s + (1 - beta2) g^2, p -= a m / (sqrt(s) + eps).

    Adam adds `l2` p to g; AdamW multiplies p by `keep`.
    """
    for part in prange(parts):
        a, b = share(p.size, part, parts, CHUNK)
        of_part = p[a:b], g[a:b], scale, exp_avg[a:b], exp_avg_sq[a:b]
        _adam(*of_part, step_size, one_minus_beta1, beta2, one_minus_beta2, eps, l2, keep)


@piece
def _adam(p, g, scale, exp_avg, exp_avg_sq, step_size, one_minus_beta1, beta2, one_minus_beta2, eps, l2, keep):
    for i in range(p.size):
        kept = keep * p[i]
        gradient = g[i] * scale + l2 * p[i]
        m = exp_avg[i] + one_minus_beta1 * (gradient - exp_avg[i])
        s = beta2 * exp_avg_sq[i] + one_minus_beta2 * gradient * gradient
        exp_avg[i], exp_avg_sq[i] = m, s
        p[i] = kept - step_size * m / (np.sqrt(s) + eps)
