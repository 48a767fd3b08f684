"""What is compiled by a command, when, and who is told."""

import numpy as np
from numba.core import event

import numgru
from numgru import _machine
from numgru.cli import run
from numgru.data import Series
from numgru.forecasting import Forecaster, ForecastRun, Settings
from numgru.training import History
from tests.cases import count_compiled, run_elsewhere
from tests.cli.helpers import SMALL


def test_the_first_run_compiles_before_the_bar(sales, capsys, monkeypatch):
    order, misses = [], 0

    def compiles(*_):
        order.append("compile")
        for _ in range(misses):
            event.broadcast(event.Event("numba:compile", event.EventStatus.START))

    monkeypatch.setattr(Forecaster, "compile_kernels", compiles)
    monkeypatch.setattr(Forecaster, "train", lambda *_, **__: order.append("train") or History())
    monkeypatch.setattr(ForecastRun, "finish", lambda *_: {"margin": {}})
    monkeypatch.setattr(ForecastRun, "summary", lambda *_: "")
    for number, (cached, quiet) in enumerate([(False, False), (False, True), (True, False)]):
        misses = 0 if cached else 2
        order.clear()
        train = ["train", sales, "--column", "sold", *SMALL, "--output", f"run{number}", *["--quiet"] * quiet]
        assert run(train) == 0
        assert order == ["compile", "train"]
        note = "compiling kernels (first run only)..."
        assert capsys.readouterr().out.count(note) == (not cached and not quiet)


def test_nothing_is_compiled_in_training_after_compile_kernels():
    code = "from tests.cli.test_compilation import compiled_later; compiled_later()"
    assert run_elsewhere(code).split() == ["0"]


def compiled_later():
    values = 10 + np.sin(np.arange(150) / 2) + np.arange(150) / 50
    series = Series("wave", values, np.zeros(150, bool))
    settings = Settings(window=12, horizon=4, hidden_size=8, epochs=2, batch_size=16)
    subject = Forecaster.untrained(settings, series)
    subject.compile_kernels(series)
    untouched = Forecaster.untrained(settings, series)
    assert (subject.model.flat_parameters == untouched.model.flat_parameters).all()
    before = count_compiled()
    subject.train(series)
    print(count_compiled() - before)


def test_only_what_the_cache_lacks_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    code = "from tests.cli.test_compilation import compile_a_small_kernel; compile_a_small_kernel()"
    assert [run_elsewhere(code).split() for _ in range(2)] == [["1"], ["0"]]


def compile_a_small_kernel():
    told = []
    with _machine.told_of_compiling(lambda: told.append(1)):
        model = numgru.RNN(2, 3)
        model.zero_grad()
        numgru.clip_grad_value_(model.gradients, 1.0)
        numgru.clip_grad_value_({"a": np.zeros(3)}, 1.0)
    print(len(told))
