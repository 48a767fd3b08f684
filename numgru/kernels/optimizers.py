"""One step of each optimizer: one pass in place over flat buffers.

Shapes: `p` parameters, `g` gradients and all state (N,), of one dtype; every scalar of that dtype too, since
a float64 among float32 operands would widen them all. A state that isn't in use has length 0.

Gradients are g times `scale`: what clipping multiplies them by is done here, so that they aren't read twice.
"""

from __future__ import annotations

import numpy as np

from ._jit import kernel


@kernel
def sgd(p, g, scale, velocity, lr, momentum, weight_decay, nesterov):
    """One step: v = momentum v + g, p -= lr v; Nesterov: p -= lr (g + momentum v)."""
    for i in range(p.size):
        step = g[i] * scale + weight_decay * p[i]
        if velocity.size:
            velocity[i] = momentum * velocity[i] + step
            step = step + momentum * velocity[i] if nesterov else velocity[i]
        p[i] -= lr * step


@kernel
def rmsprop(p, g, scale, square_avg, velocity, lr, alpha, one_minus_alpha, eps, momentum, weight_decay):
    """One step: s = alpha s + (1 - alpha) g^2, u = g / (sqrt(s) + eps), v = momentum v + u, p -= lr v."""
    for i in range(p.size):
        gradient = g[i] * scale + weight_decay * p[i]
        square_avg[i] = alpha * square_avg[i] + one_minus_alpha * gradient * gradient
        step = gradient / (np.sqrt(square_avg[i]) + eps)
        if velocity.size:
            velocity[i] = momentum * velocity[i] + step
            step = velocity[i]
        p[i] -= lr * step


@kernel
def adam(
    p, g, scale, exp_avg, exp_avg_sq, step_size, one_minus_beta1, beta2, one_minus_beta2, correction2, eps, l2, keep
):
    """One step: m += (1 - beta1)(g - m), s = beta2 s + (1 - beta2) g^2, p -= a m / (sqrt(s) / c + eps).

    a, the `step_size`, is lr / (1 - beta1^t), and c, `correction2`, sqrt(1 - beta2^t). Adam adds `l2` p to g;
    AdamW multiplies p by `keep`.
    """
    for i in range(p.size):
        kept = keep * p[i]
        gradient = g[i] * scale + l2 * p[i]
        exp_avg[i] += one_minus_beta1 * (gradient - exp_avg[i])
        exp_avg_sq[i] = beta2 * exp_avg_sq[i] + one_minus_beta2 * gradient * gradient
        p[i] = kept - step_size * exp_avg[i] / (np.sqrt(exp_avg_sq[i]) / correction2 + eps)
