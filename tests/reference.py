"""The oracle: forward and backward passes as the equations say, in plain float64 NumPy, step by step.

It shares nothing with the library it checks. A cell is two functions: a step, and directly below it its backward,
which quotes the lines it differentiates. `steps` runs a cell in one direction over sequences of one length, `layers`
a stack of directions and layers, `network` a batch of sequences of any lengths; each is followed by its backward.
Gradients are named d + name; a parameter's gradient has its name.

Shapes: T time, B batch, I input, H hidden, L layers, D directions (1 or 2), G gates, S states (an LSTM's are h and c).
    x, dx (T, B, I)    y, dy (T, B, D*H)    h_0, h_n (L*D, B, S*H)    h, a direction's states side by side (B, S*H)
    weight_ih (G*H, I), in layers above the first (G*H, D*H)    weight_hh (G*H, H)    bias_ih, bias_hh (G*H), or absent
    reset (T, B)    noise: dropout_l* (T, B, D*H), recurrent_dropout_l* (B, H), zoneout_l*, zoneout_c_l* (T, B, H)
Gates (r, z, n; or i, f, g, o) stand one below the other. A name ends in _l0, _l1, ..., the reverse direction's in
_l0_reverse, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Named = dict[str, Array]
Tokens = NDArray[np.int64]


class Cell(NamedTuple):
    """`step(x, h, p, mask)` gives the new state and what to keep; `mask` multiplies h where weights do, or is None."""

    step: Callable[[Array, Array, Named, Array | None], tuple[Array, Any]]
    step_backward: Callable[[Array, Array, Array, Any, Named, Array | None], tuple[Array, Array, Named]]
    gates: int = 3
    states: int = 1


def sigmoid(v: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-v) = inf gives the right 0
        return 1 / (1 + np.exp(-v))


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """dx, dweight and dbias of y = x W^T + b; every axis but the last is a batch."""
    dx = dy @ weight
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dx, dy.T @ x, dy.sum(axis=0)


def embedding(tokens: Tokens, weight: Array) -> Array:
    return weight[tokens]


def embedding_backward(dy: Array, tokens: Tokens, weight: Array) -> Array:
    """dweight of y = weight[tokens]."""
    dweight = np.zeros_like(weight)
    np.add.at(dweight, tokens, dy)
    return dweight


def masked(a: Array, mask: Array | None) -> Array:
    """`a` times the mask; its own backward."""
    return a if mask is None else a * mask


def gru_step(x: Array, h: Array, p: Named, mask: Array | None = None) -> tuple[Array, Any]:
    x_r, x_z, x_n = np.split(linear(x, p["weight_ih"], p.get("bias_ih")), 3, axis=-1)
    h_r, h_z, q = np.split(linear(masked(h, mask), p["weight_hh"], p.get("bias_hh")), 3, axis=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * q)
    return (1 - z) * n + z * h, (r, z, n, q)


def gru_step_backward(
    dh_new: Array, x: Array, h: Array, kept: Any, p: Named, mask: Array | None = None
) -> tuple[Array, Array, Named]:
    r, z, n, q = kept
    dz = dh_new * (h - n) * z * (1 - z)  # h' = (1 - z) n + z h,  z = sigmoid(x_z + h_z)
    dn = dh_new * (1 - z) * (1 - n**2)  # n = tanh(x_n + r q)
    dr = dn * q * r * (1 - r)  # r = sigmoid(x_r + h_r)
    dq = dn * r
    from_x, from_h = np.concatenate([dr, dz, dn], axis=-1), np.concatenate([dr, dz, dq], axis=-1)
    dx, dweight_ih, dbias_ih = linear_backward(from_x, x, p["weight_ih"])
    dh, dweight_hh, dbias_hh = linear_backward(from_h, masked(h, mask), p["weight_hh"])
    dp = {"weight_ih": dweight_ih, "weight_hh": dweight_hh, "bias_ih": dbias_ih, "bias_hh": dbias_hh}
    return dx, masked(dh, mask) + dh_new * z, dp


def gru_before_step(x: Array, h: Array, p: Named, mask: Array | None = None) -> tuple[Array, Any]:
    """The reset gate before the product: r multiplies the state, not what the weights make of it."""
    (weights, weight_n), (biases, bias_n) = split_gates(p)
    x_r, x_z, x_n = np.split(linear(x, p["weight_ih"], p.get("bias_ih")), 3, axis=-1)
    h_r, h_z = np.split(linear(masked(h, mask), weights, biases), 2, axis=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + linear(r * masked(h, mask), weight_n, bias_n))
    return (1 - z) * n + z * h, (r, z, n)


def gru_before_step_backward(
    dh_new: Array, x: Array, h: Array, kept: Any, p: Named, mask: Array | None = None
) -> tuple[Array, Array, Named]:
    (weights, weight_n), _ = split_gates(p)
    r, z, n = kept
    u = masked(h, mask)
    dz = dh_new * (h - n) * z * (1 - z)  # h' = (1 - z) n + z h,  z = sigmoid(x_z + h_z)
    dn = dh_new * (1 - z) * (1 - n**2)  # n = tanh(x_n + W_hn (r u) + b_hn),  u = h masked
    dru, dweight_n, dbias_n = linear_backward(dn, r * u, weight_n)
    dr = dru * u * r * (1 - r)  # r = sigmoid(x_r + h_r)
    dx, dweight_ih, dbias_ih = linear_backward(np.concatenate([dr, dz, dn], axis=-1), x, p["weight_ih"])
    du, dweights, dbiases = linear_backward(np.concatenate([dr, dz], axis=-1), u, weights)
    dp = {"weight_ih": dweight_ih, "weight_hh": np.concatenate([dweights, dweight_n])}
    dp |= {"bias_ih": dbias_ih, "bias_hh": np.concatenate([dbiases, dbias_n])}
    return dx, masked(du + dru * r, mask) + dh_new * z, dp


def split_gates(p: Named) -> tuple[tuple[Array, Array], tuple[Any, Any]]:
    """The state's weights and biases: those of r and z, and those of n."""
    H, bias = p["weight_hh"].shape[1], p.get("bias_hh")
    biases = (None, None) if bias is None else (bias[: 2 * H], bias[2 * H :])
    return (p["weight_hh"][: 2 * H], p["weight_hh"][2 * H :]), biases


def rnn_step(x: Array, h: Array, p: Named, mask: Array | None = None) -> tuple[Array, Any]:
    h_new = np.tanh(both_sums(x, h, p, mask))
    return h_new, (h_new,)


def rnn_step_backward(
    dh_new: Array, x: Array, h: Array, kept: Any, p: Named, mask: Array | None = None
) -> tuple[Array, Array, Named]:
    (h_new,) = kept
    return both_sums_backward(dh_new * (1 - h_new**2), x, h, p, mask)  # h' = tanh(x_ + h_)


def relu_step(x: Array, h: Array, p: Named, mask: Array | None = None) -> tuple[Array, Any]:
    sums = both_sums(x, h, p, mask)
    h_new = np.where(sums.real <= 0, 0, sums)  # NaN isn't
    return h_new, (h_new,)


def relu_step_backward(
    dh_new: Array, x: Array, h: Array, kept: Any, p: Named, mask: Array | None = None
) -> tuple[Array, Array, Named]:
    (h_new,) = kept
    slope = np.where(h_new.real > 0, 1, h_new)  # h' = max(x_ + h_, 0): 1 or 0, or NaN
    return both_sums_backward(dh_new * slope, x, h, p, mask)


def lstm_step(x: Array, hc: Array, p: Named, mask: Array | None = None) -> tuple[Array, Any]:
    h, c = np.split(hc, 2, axis=-1)
    sum_i, sum_f, sum_g, sum_o = np.split(both_sums(x, h, p, mask), 4, axis=-1)
    i, f, g, o = sigmoid(sum_i), sigmoid(sum_f), np.tanh(sum_g), sigmoid(sum_o)
    c_new = f * c + i * g
    return np.concatenate([o * np.tanh(c_new), c_new], axis=-1), (i, f, g, o, np.tanh(c_new))


def lstm_step_backward(
    dhc_new: Array, x: Array, hc: Array, kept: Any, p: Named, mask: Array | None = None
) -> tuple[Array, Array, Named]:
    i, f, g, o, squashed = kept
    (h, c), (dh_new, dc_new) = np.split(hc, 2, axis=-1), np.split(dhc_new, 2, axis=-1)
    do = dh_new * squashed * o * (1 - o)  # h' = o tanh(c'),  o = sigmoid(.)
    dc_new = dc_new + dh_new * o * (1 - squashed**2)
    di = dc_new * g * i * (1 - i)  # c' = f c + i g,  i = sigmoid(.)
    df = dc_new * c * f * (1 - f)  # f = sigmoid(.)
    dg = dc_new * i * (1 - g**2)  # g = tanh(.)
    dx, dh, dp = both_sums_backward(np.concatenate([di, df, dg, do], axis=-1), x, h, p, mask)
    return dx, np.concatenate([dh, dc_new * f], axis=-1), dp


def both_sums(x: Array, h: Array, p: Named, mask: Array | None) -> Array:
    """What the input's and the state's weights and biases make of x and h, added up."""
    of_state = linear(masked(h, mask), p["weight_hh"], p.get("bias_hh"))
    return linear(x, p["weight_ih"], p.get("bias_ih")) + of_state


def both_sums_backward(da: Array, x: Array, h: Array, p: Named, mask: Array | None) -> tuple[Array, Array, Named]:
    """dx, dh and the parameters' gradients."""
    dx, dweight_ih, dbias_ih = linear_backward(da, x, p["weight_ih"])
    dh, dweight_hh, dbias_hh = linear_backward(da, masked(h, mask), p["weight_hh"])
    dp = {"weight_ih": dweight_ih, "weight_hh": dweight_hh, "bias_ih": dbias_ih, "bias_hh": dbias_hh}
    return dx, masked(dh, mask), dp


GRU = Cell(gru_step, gru_step_backward)
GRU_BEFORE = Cell(gru_before_step, gru_before_step_backward)
RNN = Cell(rnn_step, rnn_step_backward, gates=1)
RNN_RELU = Cell(relu_step, relu_step_backward, gates=1)
LSTM = Cell(lstm_step, lstm_step_backward, gates=4, states=2)


def steps(
    cell: Cell, x: Array, h_0: Array, p: Named, reset: Array, mask: Any, zoneout: Any
) -> tuple[Array, Array, Any]:
    """The first state after each step, all after the last, and each step's input, states before it and what it kept.

    Where `reset` is True a sequence starts anew; zoneout is the part of the state that stays as it was, or None.
    """
    y, tape, h = [], [], h_0
    for t, x_t in enumerate(x):
        before = np.where(reset[t][:, None], h_0, h)
        h, kept = cell.step(x_t, before, p, mask)
        if zoneout is not None:
            h = zoneout[t] * before + (1 - zoneout[t]) * h
        y.append(np.split(h, cell.states, axis=-1)[0])
        tape.append((x_t, before, kept))
    return np.stack(y), h, tape


def steps_backward(
    cell: Cell, dy: Array, dh_n: Array, tape: Any, p: Named, reset: Array, mask: Any, zoneout: Any
) -> tuple[Array, Array, Named]:
    """dx, dh_0 and the gradient of each parameter."""
    dx, dh, dh_0 = [], dh_n, np.zeros_like(dh_n)
    dp = {name: np.zeros_like(value) for name, value in p.items()}
    for t in reversed(range(len(dy))):
        dh = dh + np.concatenate([dy[t], *[np.zeros_like(dy[t])] * (cell.states - 1)], axis=-1)
        kept_back = 0 if zoneout is None else zoneout[t] * dh  # h' = zoneout h + (1 - zoneout) step(h)
        dh = dh if zoneout is None else (1 - zoneout[t]) * dh
        dx_t, dh, step_dp = cell.step_backward(dh, *tape[t], p, mask)
        dh = dh + kept_back
        dh_0 = dh_0 + np.where(reset[t][:, None], dh, 0)  # before = h_0 where reset, else h
        dh = np.where(reset[t][:, None], 0, dh)
        dx.append(dx_t)
        for name in dp:
            dp[name] += step_dp[name]
    return np.stack(dx[::-1]), dh_0 + dh, dp


def directions(p: Named) -> Iterator[tuple[int, list[tuple[str, slice]]]]:
    """Each layer, with its directions: what their names end with, and the order of time."""
    k = 0
    while f"weight_ih_l{k}" in p:
        both = [(f"_l{k}", slice(None)), (f"_l{k}_reverse", slice(None, None, -1))]
        yield k, [(suffix, time) for suffix, time in both if f"weight_ih{suffix}" in p]
        k += 1


def layers(cell: Cell, x: Array, h_0: Array, p: Named, reset: Array, noise: Named) -> tuple[Array, Array, Any]:
    """The last layer's output, every direction's last state, and for the backward a tape for each direction."""
    h_n, tapes = [], []
    for k, both in directions(p):
        outputs = []
        for suffix, time in both:
            start, strikes = anew(reset, time), noise_of(noise, suffix, time)
            y, last, tape = steps(cell, x[time], h_0[len(h_n)], own(p, suffix), start, *strikes)
            outputs.append(y[time])
            h_n.append(last)
            tapes.append(tape)
        x = masked(np.concatenate(outputs, axis=-1), noise.get(f"dropout_l{k}"))
    return x, np.stack(h_n), tapes


def layers_backward(
    cell: Cell, dy: Array, dh_n: Array, tapes: Any, p: Named, reset: Array, noise: Named
) -> tuple[Array, Array, Named]:
    """dx, dh_0 and the gradient of each parameter."""
    dh_0, dp = np.empty_like(dh_n), {}
    state = len(dh_n)
    for k, both in reversed(list(directions(p))):
        dy = masked(dy, noise.get(f"dropout_l{k}"))
        dx: Any = 0
        for (suffix, time), dy_own in reversed(list(zip(both, np.split(dy, len(both), axis=-1), strict=True))):
            state -= 1
            dx_own, dh_0[state], own_dp = steps_backward(
                cell, dy_own[time], dh_n[state], tapes[state], own(p, suffix), anew(reset, time),
                *noise_of(noise, suffix, time),
            )  # fmt: skip
            dx = dx + dx_own[time]
            dp |= {name + suffix: value for name, value in own_dp.items()}
        dy = dx
    return dy, dh_0, dp


def anew(reset: Array, time: slice) -> Array:
    """Where steps begin with h_0, in the order in which they're read: `reset` says before which times a cut lies."""
    if time == slice(None):
        return reset
    return np.concatenate([np.zeros_like(reset[:1]), reset[:0:-1]])


def own(p: Named, suffix: str) -> Named:
    """A direction's parameters."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {name: p[name + suffix] for name in names if name + suffix in p}


def noise_of(noise: Named, suffix: str, time: slice) -> tuple[Array | None, Array | None]:
    """A direction's mask of the state, and its states' zoneout in its own order of time."""
    zoneout = [noise[name][time] for name in (f"zoneout{suffix}", f"zoneout_c{suffix}") if name in noise]
    return noise.get(f"recurrent_dropout{suffix}"), np.concatenate(zoneout, axis=-1) if zoneout else None


class Part(NamedTuple):
    """The sequences of one length in a batch, as a batch without padding."""

    cells: tuple[slice, Array]  # of arrays (T, B, ...)
    rows: Array
    reset: Array
    noise: Named
    tapes: Any


def network(cell: Cell, x: Array, h_0: Array, p: Named, lengths: Array, reset: Array, noise: Named) -> Any:
    """y, h_n and what the backward needs. Sequences of one length are run as one batch, without any padding."""
    y: Any = None
    h_n, parts = np.empty_like(h_0), []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        cells = (slice(length), rows)
        picked = {name: value[cells] if value.ndim == 3 else value[rows] for name, value in noise.items()}
        part_y, h_n[:, rows], tapes = layers(cell, x[cells], h_0[:, rows], p, reset[cells], picked)
        y = np.zeros((*x.shape[:2], part_y.shape[-1]), part_y.dtype) if y is None else y
        y[cells] = part_y
        parts.append(Part(cells, rows, reset[cells], picked, tapes))
    return y, h_n, parts


def network_backward(
    cell: Cell, dy: Array, dh_n: Array, x: Array, parts: list[Part], p: Named
) -> tuple[Array, Array, Named]:
    """dx, dh_0 and the gradient of each parameter."""
    dx, dh_0 = np.zeros_like(x), np.empty_like(dh_n)
    dp = {name: np.zeros_like(value) for name, value in p.items()}
    for cells, rows, reset, noise, tapes in parts:
        dx[cells], dh_0[:, rows], part_dp = layers_backward(cell, dy[cells], dh_n[:, rows], tapes, p, reset, noise)
        for name in dp:
            dp[name] += part_dp[name]
    return dx, dh_0, dp
