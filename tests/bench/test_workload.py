import pytest

from bench.workload import SHAPES, Shape, Workload, computable

PLAIN = Shape(2, 5, 3, 4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_text_of_a_shape(shape):
    assert Shape.parse(str(shape)) == shape


def test_options():
    assert PLAIN.options == []
    assert str(Shape(2, 5, 3, 4, layers=2, bidirectional=True, ragged=True)) == "2,5,3,4,layers=2,bidirectional,ragged"


def test_operations():
    cell = 2 * 10 * 3 * 4
    assert (PLAIN.forward_flops, PLAIN.training_flops) == (cell * (3 + 4), cell * (2 * (3 + 4) + 4))
    deep = PLAIN._replace(layers=2, bidirectional=True)
    assert deep.forward_flops == 2 * cell * ((3 + 4) + (8 + 4))
    assert deep.training_flops == 2 * deep.forward_flops + 2 * cell * (4 + 8 + 4)
    assert PLAIN._replace(tokens=True).forward_flops == cell * 4
    assert [PLAIN._replace(cell=name).training_flops * 3 for name in ("LSTM", "RNN")] == [
        PLAIN.training_flops * gates for gates in (4, 1)
    ]


def test_operations_of_a_ragged_batch_are_those_of_its_steps():
    shape = Shape(64, 100, 3, 4, ragged=True)
    lengths = shape.lengths
    assert lengths.shape == (64,)
    assert 1 <= lengths.min() < 10
    assert 90 < lengths.max() <= 100
    assert shape.forward_flops * 6400 == shape._replace(ragged=False).forward_flops * lengths.sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 2, "bidirectional": True},
        {"ragged": True},
        {"reset_before": True},
        {"one_hot": True},
        {"tokens": True},
        {"cell": "LSTM"},
        {"cell": "RNN"},
    ],
    ids=str,
)
def test_workload(options):
    shape = PLAIN._replace(**options)
    workload = Workload(shape)
    assert (workload.layer.num_layers, workload.layer.num_directions) == (shape.layers, shape.directions)
    assert type(workload.layer).__name__ == shape.cell
    assert getattr(workload.layer, "reset_after", True) is not shape.reset_before
    workload.inference()
    workload.training()
    assert all(gradient.any() for gradient in workload.layer.gradients.values())


def test_shapes_that_an_older_version_lacks_are_left_out(monkeypatch):
    class Older(Workload):
        def __init__(self, shape):
            if shape.layers > 1:
                raise TypeError("num_layers")
            super().__init__(shape)

    shapes = [PLAIN._replace(layers=2), PLAIN]
    monkeypatch.setattr("bench.workload.SHAPES", shapes)
    assert computable() == shapes
    monkeypatch.setattr("bench.workload.Workload", Older)
    assert computable() == [PLAIN]
