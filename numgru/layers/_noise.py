"""The noise of training passes: dropout between layers and of the state, and zoneout; and what directions get of it.

Shapes: T steps, B batch, H hidden, S states of the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import FloatArray
from ._calls import Call
from ._direction import Direction
from ._tape import NO_EXTRAS, Extras

if TYPE_CHECKING:
    from .recurrent import Recurrent


def draw(layer: Recurrent, call: Call) -> dict[str, FloatArray]:
    """Fresh noise, by the names of `masks`."""
    if not (layer.dropout or layer.recurrent_dropout or layer.zoneout):
        return {}
    state = layer.random_state
    assert state is not None
    generator = np.random.Generator(np.random.SFC64([state["seed"], state["draws"]]))
    layer.random_state = {**state, "draws": state["draws"] + 1}
    batch, H, masks = call.batch, layer.hidden_size, {}

    def hits(p: float, shape: tuple[int, ...]) -> Any:
        return generator.random(shape, np.float32) < p

    for at in range(layer.num_layers):
        for direction in layer._directions_of(at):
            suffix = direction.suffix
            if p := layer.recurrent_dropout:
                masks[f"recurrent_dropout_{suffix}"] = ~hits(p, (batch.B, H)) * layer.dtype.type(1 / (1 - p))
            if layer.zoneout:
                for kind in ("zoneout", "zoneout_c")[: layer._states]:
                    masks[f"{kind}_{suffix}"] = hits(layer.zoneout, (batch.T, batch.B, H)).astype(layer.dtype)
        if layer.dropout and at < layer.num_layers - 1:
            shape = (*call.x.shape[:2], layer._width)
            masks[f"dropout_l{at}"] = ~hits(layer.dropout, shape) * layer.dtype.type(1 / (1 - layer.dropout))
    return masks


def extras_of(layer: Recurrent, call: Call, direction: Direction, masks: dict[str, FloatArray], keep: bool) -> Extras:
    """A direction's share of the noise, and the resets, in the order of the kernels' steps and rows."""
    if call.resets is None and not masks and not layer.zoneout:
        return NO_EXTRAS
    batch, suffix = call.batch, direction.suffix
    zoneouts = [masks[name] for name in (f"zoneout_{suffix}", f"zoneout_c_{suffix}") if name in masks]
    zoneout, mask = None, masks.get(f"recurrent_dropout_{suffix}")
    if zoneouts:
        zoneout = batch.in_steps(zoneouts[0] if len(zoneouts) == 1 else np.dstack(zoneouts), direction.reverse)
    elif layer.zoneout and not keep:
        zoneout = np.full(layer._states * layer.hidden_size, layer.zoneout, layer.dtype)
    resets = call.resets
    if resets is not None and direction.reverse:  # a cut before step t is met on the way from t to t - 1
        resets = np.concatenate([resets[1:], np.zeros_like(resets[:1])])
    return Extras(
        resets=None if resets is None else batch.in_steps(resets, direction.reverse),
        zoneout=zoneout,
        mask=None if mask is None else batch.in_rows(mask),
    )
