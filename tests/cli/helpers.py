"""What tests of several commands share."""

from pathlib import Path

SMALL = ["--window", "12", "--horizon", "4", "--hidden-size", "8", "--epochs", "4", "--batch-size", "16"]
FILES = ["checkpoint.npz", "forecast.png", "metrics.json", "model.npz", "settings.json", "training.png"]


def names(path):
    return sorted(each.name for each in Path(path).iterdir())


def one_line(capsys, *words):
    """Stderr is one line with these words, stdout is empty."""
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    for word in words:
        assert word in err
    return True


def raising(error):
    def raises(*_, **__):
        raise error

    return raises
