"""Sequences in pieces: `Sequential.stream`, and `fit` with states that go on from batch to batch."""

import numpy as np
import pytest

import numgru
from tests.cases import assert_same_bits

T, B, V = 23, 3, 6


def language_model():
    layers = numgru.Embedding(V, 4, seed=0), numgru.GRU(4, 8, seed=1)
    return numgru.Sequential(numgru.Sequential(*layers), numgru.GRU(8, 5, seed=2), numgru.Linear(5, V, seed=3))


def streams(T=T, seed=0):
    tokens = np.random.default_rng(seed).integers(0, V, (T + 1, B))
    return tokens[:-1], tokens[1:]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("piece", [1, 4, T])
def test_pieces_make_the_whole(piece, training):
    model, (x, _) = language_model(), streams()
    states, pieces = None, []
    for start in range(0, T, piece):
        y, states = model.stream(x[start : start + piece], states, training=training)
        pieces.append(y)
    assert_same_bits({"y": np.concatenate(pieces)}, {"y": model(x)})
    (none, inner), outer, no_state = states
    assert none is no_state is None and inner.shape == (1, B, 8) and outer.shape == (1, B, 5)


def test_states_of_another_model():
    model, (x, _) = language_model(), streams()
    with pytest.raises(ValueError, match="states: expected an entry for each of 3 layers, got 2"):
        model.stream(x, (None, None))
    with pytest.raises(ValueError, match=r"h_0: expected shape \(1, 3, 5\), got \(1, 2, 5\)"):
        model.stream(x, (None, np.zeros((1, 2, 5)), None))


def train(model, epochs, **options):
    optimizer = numgru.SGD(model, lr=0.5)
    x, y = streams()
    options = {"validation": streams(9, seed=1), "restore_best": False, **options}
    return numgru.fit(
        model, x, y, loss=numgru.CrossEntropyLoss(), optimizer=optimizer, epochs=epochs, batch_size=5,
        shuffle=False, stateful=True, **options,
    )  # fmt: skip


def test_it_is_the_loop_written_out():
    model, other = language_model(), language_model()
    history = train(model, 2)
    x, t = streams()
    loss, optimizer = numgru.CrossEntropyLoss(), numgru.SGD(other, lr=0.5)
    for epoch in range(2):
        states, total = None, 0.0
        for start in range(0, T, 5):
            window = slice(start, start + 5)
            y, states = other.stream(x[window], states, training=True)
            value, dy = loss(y, t[window])
            total += value * len(y)
            other.zero_grad()
            other.backward(dy, need_dx=False)
            optimizer.step()
        x_held_out, t_held_out = streams(9, seed=1)
        assert history.loss[epoch] == pytest.approx(total / T, rel=1e-12)
        assert history.validation_loss[epoch] == pytest.approx(loss(other(x_held_out), t_held_out)[0], rel=1e-12)
    assert_same_bits(model.parameters, other.parameters)


def test_resumed_to_the_same_bits(tmp_path):
    whole, cut = language_model(), language_model()
    train(whole, 3)
    path = tmp_path / "run.npz"
    train(cut, 2, checkpoint=path)
    again = language_model()
    assert len(train(again, 3, checkpoint=path, resume=True)) == 3
    assert_same_bits(again.parameters, whole.parameters)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shuffle": True}, ValueError, "stateful: expected shuffle=False and batch_axis=0 .* shuffle=True"),
        ({"batch_axis": 1}, ValueError, r"stateful: expected .* batch_axis=\(1, 1\)"),
        ({"model": numgru.Linear(2, 2)}, TypeError, "stateful: expected a Sequential with it, got Linear"),
    ],
)
def test_what_it_needs(change, error, message):
    options = {"model": language_model(), "stateful": True, "shuffle": False, "epochs": 1, **change}
    x, y = streams()
    with pytest.raises(error, match=message):
        numgru.fit(x=x, y=y, loss=numgru.CrossEntropyLoss(), optimizer=numgru.SGD(options["model"]), **options)
