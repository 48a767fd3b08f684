"""sigmoid and tanh in registers: one exponential, one division, no library call, no table; and max(x, 0).

Range reduction: u = n ln 2 + s with |s| <= ln 2 / 2, so e^u = 2^n (1 + p) with p = e^s - 1 = s + s^2 q(s).
q is a minimax polynomial of the relative error of p (tests/kernels/fit_expm1.py fits it), so that tanh keeps its
relative precision down to zero. NaN in gives NaN out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from .vectors import Vec


class _Exponential(NamedTuple):
    """Constants of e^u at one precision."""

    q: tuple[float, ...]  # highest power first
    ln2_high: float  # n ln2_high is exact in a fused multiply-add
    ln2_low: float
    mantissa: int  # bits
    bias: int  # of the exponent
    highest: float  # beyond it 2^n is infinite, and sigmoid zero
    lowest: float  # beyond it 2^n would no longer be a normal number
    saturation: float  # beyond it tanh is 1


_EXPONENTIAL = {
    32: _Exponential(
        q=(
            0.00138825224462298122,
            0.008366514003812600031,
            0.04166719965343143464,
            0.1666654366969691155,
            0.4999999815512530352,
        ),
        ln2_high=0.693145751953125,
        ln2_low=1.428606765330187e-06,
        mantissa=23,
        bias=127,
        highest=89.0,
        lowest=-87.0,
        saturation=9.5,
    ),
    64: _Exponential(
        q=(
            2.505377450841455099e-8,
            2.762602433634491418e-7,
            2.755740750782445487e-6,
            0.00002480150530611001075,
            0.0001984126971907981752,
            0.001388888893153968767,
            0.008333333333389507063,
            0.04166666666657682531,
            0.1666666666666658936,
            0.5000000000000005174,
        ),
        ln2_high=0.6931471803691238,
        ln2_low=1.9082149292705877e-10,
        mantissa=52,
        bias=1023,
        highest=710.0,
        lowest=-708.0,
        saturation=20.0,
    ),
}
_LOG2_E = 1.4426950408889634


def _two_to_n_and_p(u: Vec, sign: float = 1.0) -> tuple[Vec, Vec]:
    """2^n and p with e^(sign u) = 2^n (1 + p)."""
    b, kind = u.b, u.kind
    e = _EXPONENTIAL[kind.bits]
    rounding = 1.5 * 2.0**e.mantissa + e.bias  # leaves the nearest integer, and the bias, in the lowest bits
    shifted = u.fma(sign * _LOG2_E, rounding)
    n = shifted - rounding
    s = n.fma(-e.ln2_low, n.fma(-e.ln2_high, u if sign > 0 else -u))
    q = s.fma(e.q[0], e.q[1])
    for coefficient in e.q[2:]:
        q = q.fma(s, coefficient)
    p = (s * s).fma(q, s)

    def power_of_two(register: Any) -> Any:
        to_exponent = ir.Constant(kind.words, [e.mantissa] * kind.lanes)
        return b.bitcast(b.shl(b.bitcast(register, kind.words), to_exponent), kind.vector)

    return shifted.each(power_of_two), p


def sigmoid(x: Vec) -> Vec:
    """1 / (1 + e^-x)."""
    e = _EXPONENTIAL[x.kind.bits]
    two_to_n, p = _two_to_n_and_p(x.at_least(-e.highest).at_most(-e.lowest), -1.0)
    return 1.0 / (p + 1.0).fma(two_to_n, 1.0)


def tanh(x: Vec) -> Vec:
    """(e^2x - 1) / (e^2x - 1 + 2)."""
    e = _EXPONENTIAL[x.kind.bits]
    x = x.at_most(e.saturation).at_least(-e.saturation)
    two_to_n, p = _two_to_n_and_p(x + x)
    minus_one = two_to_n.fma(p, two_to_n - 1.0)
    return minus_one / (minus_one + 2.0)


def relu(x: Vec) -> Vec:
    """max(x, 0)."""
    return x.at_least(0.0)


def relu_slope(y: Vec) -> Vec:
    """Its derivative from its result: 1 where that is above 0, or else the result itself, 0 or NaN."""
    b = y.b
    return y.each(lambda mine, one, zero: b.select(b.fcmp_ordered(">", mine, zero), one, mine), 1.0, 0.0)
