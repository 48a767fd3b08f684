import errno

import numpy as np
import pytest

from numgru.diagnostics.plots import new_figure, save_figure, training_figure


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("epochs", [1, 20])
def test_training_figure(epochs, clip_norm):
    falling = np.exp(-np.arange(epochs))
    losses, norms, shares = training_figure(
        loss=falling,
        validation_loss=falling[::-1],
        norm_mean=falling,
        norm_max=2 * falling,
        clipped=falling / 2,
        clip_norm=clip_norm,
    ).axes
    assert losses.get_yscale() == norms.get_yscale() == "log"
    assert legend(losses)[-1] == "best, epoch 1"
    assert ("clipped to 1" in legend(norms)) == (clip_norm is not None)
    assert [bar.get_height() for bar in shares.patches] == pytest.approx(50 * falling)


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path):
    figure = new_figure(4, 3)
    save_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    figure.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full"))
    with pytest.raises(OSError, match="disk full"):
        save_figure(tmp_path / "b.png", figure)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'numgru\[cli\]'"):
        training_figure(loss=[1], validation_loss=[1], norm_mean=[1], norm_max=[1], clipped=[0])
