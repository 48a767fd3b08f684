from pathlib import Path

from numgru.cli import run
from numgru.forecasting import ForecastRun
from tests.cli.helpers import one_line


def test_info(capsys):
    assert run(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("numgru", "numba", "processor", "float32", "tile", "threads", "threading layer", "cache"):
        assert word in out


def test_info_of_a_run(trained, capsys):
    assert run(["info", "run"]) == 0
    out = capsys.readouterr().out
    assert "processor" in out and out.endswith(f"\n{ForecastRun(Path('run')).load().model.summary()}\n")
    assert run(["info", "nowhere"]) == 2
    assert one_line(capsys, "nowhere", "no trained model")
