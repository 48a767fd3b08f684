"""A row of a matrix for each token.

Always on the calling thread: it's a copy, small beside the products that the next layer makes of it.

Shapes: T steps, R tokens a step, V rows, E columns.

    tokens  (T, R)       weight, dweight  (V, E)
    y, dy   (T, R, E)
"""

from __future__ import annotations

from ._jit import kernel


@kernel
def embed(tokens, weight, y):
    """y[t, i] = weight[tokens[t, i]]."""
    for t in range(tokens.shape[0]):
        for i in range(tokens.shape[1]):
            row, out = weight[tokens[t, i]], y[t, i]
            for e in range(out.size):
                out[e] = row[e]


@kernel
def embed_backward(tokens, dy, dweight):
    """Add dy to the rows that occur: from the last step to the first, along the tokens in each."""
    for t in range(tokens.shape[0] - 1, -1, -1):
        for i in range(tokens.shape[1]):
            d, row = dy[t, i], dweight[tokens[t, i]]
            for e in range(d.size):
                row[e] += d[e]
