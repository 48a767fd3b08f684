import json
import pkgutil
from contextlib import closing

import numpy as np
import pytest

import bench.peers.__main__
from bench.machine import cache_sizes, levels
from bench.messages import message_seconds
from bench.peers.__main__ import main
from bench.peers.instructions import KIND, multiplications
from bench.peers.limits import Bound, Limits
from bench.peers.measure import compare, measure
from bench.peers.peer import PEERS, installed
from bench.peers.problem import Problem, beside
from bench.peers.remote import Local, Remote, RemoteError
from bench.peers.report import OURS, Cell, beside_table, speed_ups, summary, tables
from bench.workload import Shape
from numgru.kernels.threads import available_cpus

SMALL, LARGE = Shape(1, 1, 64, 64), Shape(1, 100, 32, 64)


def cell(shape=SMALL, job="inference", threads=1, **times):
    return Cell(shape, job, threads, {name: [time] * 3 for name, time in times.items()}, Bound(1e-6, "arithmetic"))


CELLS = [
    cell(numgru=2e-6, quick=4e-6, slow=9e-6),
    cell(LARGE, numgru=1e-6, quick=9e-6, slow=8e-6),
    cell(threads=2, numgru=4e-6, quick=3e-6),
]


def test_ratio_to_the_best_peer():
    assert [each.best_peer for each in CELLS] == ["quick", "slow", "quick"]
    assert [each.ratio for each in CELLS] == pytest.approx([2, 8, 0.75])
    assert CELLS[0].of_limit == pytest.approx(0.5)
    assert [each.ratio_at_limit for each in CELLS] == pytest.approx([4, 8, 3])
    assert CELLS[0].gflops == pytest.approx(2 * 3 * 64 * 128 / 2e-6 / 1e9)


def test_without_peers_there_is_no_ratio():
    alone = cell(numgru=1e-6)
    assert alone.best_peer is None
    assert alone.ratio is None
    assert summary([alone]) == []
    assert "numgru" in tables([alone])


def test_summary():
    one, two = summary(CELLS)
    assert (one["job"], one["threads"], one["its B,T,I,H"], one["its best peer"]) == (
        "inference",
        1,
        str(SMALL),
        "quick",
    )
    assert one["geometric_mean"] == pytest.approx(4)
    assert one["smallest"] == pytest.approx(2)
    assert two["geometric_mean"] == two["smallest"] == pytest.approx(0.75)
    assert one["at_the_limits"] == pytest.approx(32**0.5)
    of_lstm = cell(Shape(1, 1, 1, 1, cell="LSTM"), numgru=1e-6, quick=1e-6)
    assert [each["shapes"] for each in summary([*CELLS, of_lstm])] == ["all", "all", *["without options"] * 2]


def test_ratios_that_are_equal_all_count():
    cells = [
        cell(numgru=1e-6, peer=2e-6),
        cell(LARGE, numgru=1e-6, peer=2e-6),
        cell(Shape(2, 1, 1, 1), numgru=1e-6, peer=16e-6),
    ]
    assert summary(cells)[0]["geometric_mean"] == pytest.approx(4)


def test_speed_up():
    assert speed_ups(CELLS)[SMALL, "inference", 2] == pytest.approx(0.5)


def test_tables():
    text = tables(CELLS)
    assert "| 1,1,64,64 | 2.0 (0.0) | 4.0 (0.0) | 9.0 (0.0) | 2.00 | 1.00 | 50% | arithmetic | 4.00 |" in text
    assert "| all | inference | 1 | 4.00 | 5.66 | 2.00 | 1,1,64,64 | quick |" in text
    assert beside_table([(CELLS[0], CELLS[2])]).endswith("| inference | 1 | 0.50 | 24.6 | 12.3 | 2.00 |")


def test_the_limit_that_binds():
    limits = Limits(1, 100.0, dict.fromkeys(levels(), 10.0))
    shape = Shape(64, 10, 8, 5 * KIND.lanes)
    batch = limits.bound(shape, "inference")
    assert batch.by == "arithmetic"
    of_cell = 2 * KIND.lanes * multiplications(shape, "inference") * 5 * 640
    assert batch.seconds == pytest.approx((shape.forward_flops + of_cell) / 100e9)
    assert limits.bound(shape._replace(H=4 * KIND.lanes + 1), "inference").seconds == pytest.approx(
        (2 * 640 * 3 * 5 * KIND.lanes * (8 + 4 * KIND.lanes + 1) + of_cell) / 100e9  # the last register is one, too
    )


def test_the_limit_of_training_is_that_of_both_ways():
    shape, rates = Shape(1, 10, 8, 64), dict.fromkeys(levels(), 10.0)
    read = Limits(1, 100.0, rates).bound(shape, "training")
    assert read.seconds == pytest.approx(4 * 192 * (2 * 10 * 64 + 8) / 10e9)
    assert read.by.startswith("weights from L")
    # Forward, the weights are the limit, and backward, where there is more to multiply, that.
    of_cell = multiplications(shape, "training") - multiplications(shape, "inference")
    flops = shape.training_flops - shape.forward_flops + 2 * of_cell * 10 * 64
    backward = Limits(1, 8.0, rates).bound(shape, "training")
    assert backward.seconds == pytest.approx(4 * 192 * (10 * 64 + 8) / 10e9 + flops / 8e9)


def test_least_and_most_of_messages():
    of_both = Limits(2, 1.0, {}, (1e-7, 5e-7)).best(Limits(2, 1.0, {}, (2e-7, 6e-7)))
    assert of_both.message == (1e-7, 6e-7)


def test_what_a_cell_multiplies():
    gru, before, lstm, rnn = (
        [multiplications(Shape(1, 1, 1, 1, **options), job) for job in ("inference", "training")]
        for options in ({}, {"reset_before": True}, {"cell": "LSTM"}, {"cell": "RNN"})
    )
    exponential = rnn[0]  # a tanh and nothing else; a sigmoid takes as many
    assert exponential > 5
    assert 3 * exponential < gru[0] < 4 * exponential
    assert gru[0] == before[0]
    assert 5 * exponential < lstm[0] < 6 * exponential
    assert gru[1] > gru[0]
    assert lstm[1] > lstm[0] + exponential  # tanh(c) once more


@pytest.mark.skipif(available_cpus() < 2, reason="one processor")
def test_message():
    assert 1e-9 < message_seconds(100) < 1


def test_levels():
    sizes = cache_sizes()
    assert list(sizes.values()) == sorted(sizes.values())
    both = Limits(2, 1.0, {})
    assert both.level_of(sizes["L1"] * 2) == "L1"
    assert both.level_of(max(sizes.values()) * 2 + 1) == "memory"


def test_what_computes_something_else_is_refused():
    (ours,) = Local("numgru", 1).prepare(LARGE)
    compare("same", LARGE, ours, ours)
    compare("infers only", LARGE, ours._replace(gradients=None), ours)
    with pytest.raises(ValueError, match="other, 1,100,32,64: expected numgru's h_n"):
        compare("other", LARGE, ours._replace(h_n=ours.h_n * np.float32(1.001)), ours)
    (weights,) = ours.gradients
    gradients = weights._replace(b_hh=np.full_like(weights.b_hh, np.nan))
    with pytest.raises(ValueError, match="db_hh"):
        compare("other", LARGE, ours._replace(gradients=[gradients]), ours)


def test_problem_is_the_same_everywhere():
    one, other = Problem.of(LARGE), Problem.of(LARGE)
    for a, b in zip((*one.weights[0], *one[2:]), (*other.weights[0], *other[2:]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_run_of_numgru_alone(tmp_path, capsys):
    figures, picture = tmp_path / "peers.json", tmp_path / "peers.png"
    shapes = [str(SMALL), "3,4,5,17,layers=2,ragged", "2,3,5,4,tokens"]
    main(
        ["--quick", "--peers", "--threads", "1", "--shapes", *shapes, "--json", str(figures), "--picture", str(picture)]
    )
    result = json.loads(figures.read_text())
    assert [each["B,T,I,H"] for each in result["cells"]] == [shape for shape in shapes for _ in range(2)]
    assert all(each["us"]["numgru"] > 0 and each["ratio"] is None for each in result["cells"])
    pairs = [(each["this"]["B,T,I,H"], each["other"]["B,T,I,H"]) for each in result["beside"]]
    assert pairs == [(shapes[1], "3,4,5,17,layers=2")] * 2 + [(shapes[2], "2,3,5,4,one_hot")] * 2
    assert picture.stat().st_size > 1000
    assert "inference, 1 thread" in capsys.readouterr().out


OPTIONS = [
    "2,5,3,4,layers=2,bidirectional",
    "3,6,3,4,layers=2,bidirectional,ragged",
    "3,6,3,4,layers=2,ragged,reset_before",
    "2,5,3,4,one_hot",
    "2,5,3,4,layers=2,bidirectional,cell=LSTM",
    "3,6,3,4,ragged,cell=LSTM",
    "3,6,3,4,layers=2,ragged,cell=RNN",
]


@pytest.mark.parametrize("name", [name for name in PEERS if name != OURS])
def test_peers_compute_the_same(name):
    """In processes of their own: these libraries change settings of the process that they are in."""
    if not installed(name):
        pytest.skip(f"{name} isn't installed")
    with closing(Remote(name, 1)) as remote:
        shapes = list(filter(remote.can, map(Shape.parse, OPTIONS)))
        for shape, *results in zip(shapes, remote.prepare(*shapes), Local(OURS, 1).prepare(*shapes), strict=True):
            compare(name, shape, *results)


def test_tokens_are_the_one_hot_vectors():
    shape = Shape(3, 4, 5, 6, tokens=True)
    vectors = shape._replace(tokens=False, one_hot=True)
    np.testing.assert_array_equal(Problem.of(vectors).x.argmax(-1), Problem.of(shape).x)
    compare("tokens", shape, *Local(OURS, 1).prepare(shape, vectors))


def test_set_beside():
    plain = Shape(2, 3, 4, 5)
    assert beside(plain) is None
    assert beside(plain._replace(ragged=True, layers=2)) == plain._replace(layers=2)
    assert beside(plain._replace(reset_before=True)) == plain
    assert beside(plain._replace(tokens=True, ragged=True)) == plain._replace(one_hot=True, ragged=True)
    assert beside(Shape(7, 33, 13, 50)) == Shape(8, 33, 16, 48)


def test_asv_does_not_find_modules_that_need_a_library():
    found = [name for _, name, _ in pkgutil.walk_packages(bench.peers.__path__, "bench.peers.")]
    assert "bench.peers.measure" in found
    assert not [name for name in found if "libraries" in name]


def test_bad_shape(capsys):
    for bad in ("1,2,0,4", "1,2,3", "1,2,3,4,layers=0", "1,2,3,4,jagged", "1,2,3,4,cell=CNN"):
        with pytest.raises(SystemExit):
            main(["--shapes", bad])
        assert "expected B,T,I,H" in capsys.readouterr().err


def test_interrupted_run_keeps_what_was_measured(tmp_path, monkeypatch):
    figures = tmp_path / "peers.json"

    def measure_one(shape, *rest):
        if shape != SMALL:
            raise KeyboardInterrupt
        return measure(shape, *rest)

    monkeypatch.setattr(bench.peers.__main__, "measure", measure_one)
    options = ["--quick", "--peers", "--threads", "1", "--json", str(figures), "--shapes"]
    with pytest.raises(SystemExit, match="130"):
        main([*options, str(SMALL), str(LARGE), "2,3,4,5"])
    result = json.loads(figures.read_text())
    assert result["interrupted"] is True
    assert {each["B,T,I,H"] for each in result["cells"]} == {str(SMALL)}
    with pytest.raises(SystemExit, match="interrupted before any shape was measured"):
        main([*options, str(LARGE)])


def test_process_whose_other_side_has_hung_up_ends(capfd):
    remote = Remote("numgru", 1)
    remote.prepare(SMALL)
    remote.connection.send(("burst", SMALL, "inference", 1, 0.2))
    remote.close()
    assert remote.process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


def test_peer_that_cannot_be_loaded_is_left_out(tmp_path, monkeypatch, capsys):
    class Loaded(Remote):
        def __init__(self, name, threads):
            if name == "JAX":
                raise RemoteError("JAX, 1 threads:\nTraceback\nImportError: no such library")
            super().__init__(name, threads)

    monkeypatch.setattr(bench.peers.__main__, "Remote", Loaded)
    monkeypatch.setattr(bench.peers.__main__, "installed", lambda name: name in ("numgru", "JAX"))
    main(["--quick", "--threads", "1", "--shapes", str(SMALL)])
    out, err = capsys.readouterr()
    assert "JAX: left out, it can't be loaded: ImportError: no such library" in err
    assert "PyTorch: left out, not installed" in err
    assert "| 1,1,64,64 |" in out


@pytest.mark.parametrize(
    "options",
    [
        ["--json", "{folder}/no/such/folder.json"],
        ["--json", "{folder}"],
        ["--picture", "{folder}/no/such/folder.png"],
        ["--picture", "{folder}/picture.foo"],
        ["--shapes", "2,3,4,5,cell=LSTM,reset_before"],
        ["--shapes", "2,3,4,5,tokens,one_hot"],
    ],
    ids=lambda options: " ".join(options),
)
def test_what_cannot_be_is_refused_before_anything_is_measured(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.peers.__main__, "measure_all", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit, match="2"):
        main([option.format(folder=tmp_path) for option in options])
    assert f"argument {options[0]}: expected" in capsys.readouterr().err
