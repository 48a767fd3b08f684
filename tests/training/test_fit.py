"""The training loop: what it computes, when it stops, what it refuses."""

import builtins
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from numgru import GRU
from numgru._files import load_arrays
from numgru.training import (
    SGD,
    Adam,
    CosineAnnealingLR,
    History,
    MSELoss,
    ReduceLROnPlateau,
    TrainingDivergedError,
    clip_grad_adaptive_,
    clip_grad_norm_,
    clip_grad_norm_per_array_,
    clip_grad_value_,
    fit,
)
from numgru.training.batches import Batches


def data(n=37, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    return x, np.stack([np.sin(x[:, 0]), x[:, 1] * 0.5], -1)


def run(model, x, y, optimizer=None, **options):
    options = {"loss": MSELoss(), "epochs": 3, "batch_size": 8, **options}
    return fit(model, x, y, optimizer=optimizer or SGD(model, lr=0.1), **options)


def test_it_is_the_loop_written_out(make_model):
    """Five lines of NumPy, with the unshuffled order and a smaller last batch."""
    x, y = data()
    model, other = make_model(), make_model()
    history = run(model, x, y, epochs=2, shuffle=False, clip_norm=0.05)
    norms, losses = [], []
    for _ in range(2):
        for start in range(0, 37, 8):
            prediction = other.forward(x[start : start + 8])
            d = prediction - y[start : start + 8]
            other.zero_grad()
            other.backward(2 * d / d.size)
            norms.append(np.sqrt((other.flat_gradients**2).sum()))
            losses.append((d**2).mean() * len(d))
            other.flat_parameters -= 0.1 * other.flat_gradients * min(1.0, 0.05 / norms[-1])
    np.testing.assert_allclose(model.flat_parameters, other.flat_parameters, rtol=1e-12)
    np.testing.assert_allclose(history.loss, [sum(losses[:5]) / 37, sum(losses[5:]) / 37], rtol=1e-12)
    np.testing.assert_allclose(history.grad_norm_mean, [np.mean(norms[:5]), np.mean(norms[5:])], rtol=1e-12)
    np.testing.assert_allclose(history.grad_norm_max, [max(norms[:5]), max(norms[5:])], rtol=1e-12)
    assert history.clipped_share == [np.mean(np.greater(part, 0.05)) for part in (norms[:5], norms[5:])]
    assert history.lr == [0.1, 0.1] and min(history.examples_per_second) > 0


def test_it_learns(make_model):
    x, y = data(200)
    model = make_model(hidden=8)
    history = run(model, x, y, Adam(model, lr=0.02), epochs=40, validation=data(50, seed=1))
    assert history.loss[-1] < history.loss[0] / 10
    assert history.validation_loss[-1] < history.validation_loss[0] / 5


class Recorder:
    """Keeps the inputs of every step."""

    def __init__(self, model):
        self.seen, forward = [], model.forward
        model.forward = lambda x: (self.seen.append(np.array(x)), forward(x))[1]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 37])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_sees_every_example_once(make_model, n, shuffle):
    x, y = data(n)
    model = make_model()
    recorder = Recorder(model)
    run(model, x, y, epochs=2, shuffle=shuffle)
    steps = -(-n // 8)
    assert [len(batch) for batch in recorder.seen[:steps]] == [8] * (n // 8) + [n % 8] * (n % 8 > 0)
    first, second = (np.concatenate(recorder.seen[i * steps : (i + 1) * steps]) for i in range(2))
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch, 0), np.sort(x, 0))
    if n > 8:
        assert np.array_equal(first, x) != shuffle
        assert np.array_equal(first, second) != shuffle


def test_the_seed_decides(make_model):
    x, y = data()
    weights = []
    for seed in (3, 3, 4):
        model = make_model()
        run(model, x, y, seed=seed)
        weights.append(model.flat_parameters)
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


def test_every_seed_and_epoch_has_an_order_of_its_own():
    batches = Batches(("x", "y", "lengths"), X, Y, (0, 0), 8, X.dtype)
    first = [next(batches.shuffled(*key)).x.copy() for key in ((0, 2), (1, 1), (2, 0))]
    assert all(not np.array_equal(first[i], first[i - 1]) for i in range(3))


def test_batch_axis(make_model):
    """The same examples along axis 1 (and targets along either) train the same."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, 5, 3)), rng.standard_normal((11, 5, 2))
    weights = []
    for axes, inputs, targets in ((0, x, y), (1, x.swapaxes(0, 1), y.swapaxes(0, 1))):
        model = make_model()
        recorder = Recorder(model)
        run(model, inputs, targets, batch_axis=axes, batch_size=4, validation=(inputs, targets))
        assert recorder.seen[2].shape == ((3, 5, 3), (5, 3, 3))[axes]
        weights.append(model.flat_parameters)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-12)


def test_two_batch_axes(make_model):
    """A model that looks at the last time step takes (T, B, I) and gives (B, O)."""

    class Last(make_model):
        def __call__(self, x):
            return super().__call__(x[-1])

        def forward(self, x):
            return super().forward(x[-1])

    x, y = data()
    model, plain = Last(), make_model()
    run(model, np.stack([x * 0, x]), y, batch_axis=(1, 0))
    run(plain, x, y)
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)


@pytest.mark.parametrize("convert", [np.float32, np.float64, list], ids=["float32", "float64", "list"])
def test_inputs_arrive_in_the_dtype_of_the_model(make_model, convert):
    x, y = data()
    model = make_model(dtype=np.float32)
    recorder = Recorder(model)
    run(model, x.tolist() if convert is list else x.astype(convert), y)
    assert {batch.dtype for batch in recorder.seen} == {np.dtype(np.float32)}


def test_strided_inputs_train_the_same(make_model, tmp_path):
    x, y = data()
    weights = []
    for inputs in (x, np.asfortranarray(x), np.repeat(x, 2, 0)[::2]):
        model = make_model()
        run(model, inputs, y, checkpoint=tmp_path / f"{len(weights)}.npz")
        weights.append(model.flat_parameters)
    assert np.array_equal(weights[0], weights[1]) and np.array_equal(weights[0], weights[2])


def test_validation_is_the_mean_over_examples_not_batches(make_model):
    x, y = data()
    model = make_model()
    history = run(model, x, y, epochs=1, validation=(x, y))
    assert history.validation_loss == [pytest.approx(((model(x) - y) ** 2).mean(), rel=1e-12)]


def test_clip_value_is_counted(make_model):
    x, y = data()
    model = make_model()
    assert run(model, x, y, clip_value=1e-6).clipped_share == [1.0] * 3
    assert run(model, x, y, clip_value=1e6).clipped_share == [0.0] * 3


RULES = {
    "clip_norm": lambda model, limit: clip_grad_norm_(model.gradients, limit),
    "clip_norm_per_array": lambda model, limit: clip_grad_norm_per_array_(model.gradients, limit),
    "clip_value": lambda model, limit: clip_grad_value_(model.gradients, limit),
    "clip_adaptive": lambda model, limit: clip_grad_adaptive_(model.gradients, model.parameters, limit),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_rule_has_the_bits_of_clipping_by_hand(make_model, rule, dtype):
    x, y = (a.astype(dtype) for a in data())
    model, other = make_model(dtype=dtype), make_model(dtype=dtype)
    reports = []
    run(model, x, y, epochs=1, shuffle=False, on_step=lambda s: reports.append(s.report), **{rule: 0.02})
    optimizer, loss = SGD(other, lr=0.1), MSELoss()
    for step, start in enumerate(range(0, 37, 8)):
        _, d = loss(other.forward(x[start : start + 8]), y[start : start + 8])
        other.zero_grad()
        other.backward(d)
        report = RULES[rule](other, 0.02)
        optimizer.step()
        assert (report.norms, report.counts) == (reports[step].norms, reports[step].counts)
    assert any(report.clipped for report in reports)
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)


def test_another_norm(make_model):
    x, y = data()
    history = run(make_model(), x, y, epochs=1, shuffle=False, clip_norm=1e-3, norm_type=1)
    assert history.grad_norm_max[0] > run(make_model(), x, y, epochs=1, shuffle=False, clip_norm=1e-3).grad_norm_max[0]
    assert history.clipped_share == [1.0]


def spoil(model, bad_steps, value=np.nan):
    """Put a NaN among the gradients of these steps."""
    backward, calls = model.backward, []

    def broken(dy, need_dx):
        calls.append(1)
        backward(dy, need_dx=need_dx)
        if len(calls) in bad_steps:
            model.gradients["b"][1] = value

    model.backward = broken


def test_skipped_steps_change_nothing_and_are_not_in_the_means(make_model):
    x, y = data(40)
    model, other = make_model(), make_model()
    spoil(model, (1, 4))
    steps = []
    options = {"epochs": 1, "shuffle": False, "clip_norm": 0.1}
    history = run(model, x, y, Adam(model), nonfinite="skip", on_step=steps.append, **options)
    assert [step.skipped for step in steps] == [True, False, False, True, False]
    assert history.skipped_share == [0.4]
    kept = np.r_[8:24, 32:40]
    expected = run(other, x[kept], y[kept], Adam(other), **options)
    assert (history.loss, history.grad_norm_mean) == (pytest.approx(expected.loss), expected.grad_norm_mean)
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)


@pytest.mark.parametrize("rule", RULES)
def test_zeroed_gradients(make_model, rule):
    x, y = data()
    model = make_model()
    spoil(model, (2,), np.inf)
    steps = []
    run(model, x, y, epochs=1, nonfinite="zero", on_step=steps.append, **{rule: 0.1})
    assert [step.report.nonfinite for step in steps] == [{}, {"b": 1}, {}, {}, {}]
    assert np.isfinite(model.flat_parameters).all()


def test_a_loss_that_is_not_finite_is_skipped_too(make_model):
    x, y = data()
    y[3] = np.inf
    model, steps = make_model(), []
    options = {"shuffle": False, "nonfinite": "skip", "clip_norm": 1e-3}
    history = run(model, x, y, on_step=steps.append, progress=True, **options)
    assert [step.report is None for step in steps] == [True, False, False, False, False] * 3
    assert np.isfinite(history.loss).all() and history.skipped_share == [0.2] * 3
    assert history.clipped_share == [1.0] * 3
    with pytest.raises(TrainingDivergedError, match="epoch 1, step 5: every step was skipped"):
        run(model, x, y * np.nan, nonfinite="skip")
    with pytest.raises(TrainingDivergedError, match="epoch 1, step 1: the loss is inf"):
        run(model, x, y, shuffle=False, nonfinite="zero")


def worsening(model, lr=0.0):
    """With lr 0 the weights move only through this: away from the data, after epoch 2."""

    def on_epoch(history):
        if len(history) >= 2:
            model.flat_parameters[...] += 1.0

    return {"optimizer": SGD(model, lr=lr), "on_epoch": on_epoch}


def test_patience_and_best_weights(make_model):
    x, y = data()
    model = make_model()
    start = model.flat_parameters.copy()
    history = run(model, x, y, validation=(x, y), epochs=50, patience=3, **worsening(model))
    # Epoch 2 is as good as epoch 1, so 1 is the best; three without a better one are 2, 3, 4.
    assert (len(history), history.best_epoch) == (4, 1)
    np.testing.assert_array_equal(model.flat_parameters, start)


def test_without_restore_best_the_last_weights_stay(make_model):
    x, y = data()
    model = make_model()
    start = model.flat_parameters.copy()
    run(model, x, y, validation=(x, y), epochs=50, patience=3, restore_best=False, **worsening(model))
    np.testing.assert_array_equal(model.flat_parameters, start + 1 + 1 + 1)


def test_schedule_steps_once_an_epoch(make_model):
    x, y = data()
    model = make_model()
    optimizer = SGD(model, lr=0.1)
    history = run(model, x, y, optimizer, epochs=4, schedule=CosineAnnealingLR(optimizer, T_max=4))
    np.testing.assert_allclose(history.lr, [0.05 * (1 + math.cos(math.pi * e / 4)) for e in range(4)])


def test_the_schedule_hears_the_validation_loss_or_else_the_training_loss(make_model):
    x, y = data()
    for validation, which in (((x, -y), "validation_loss"), (None, "loss")):
        model = make_model()
        optimizer = SGD(model, lr=0.1)
        schedule = ReduceLROnPlateau(optimizer)
        heard = []
        schedule.step = heard.append
        history = run(model, x, y, optimizer, validation=validation, schedule=schedule)
        assert heard == getattr(history, which)


def test_steps_are_reported(make_model):
    x, y = data()
    model = make_model()
    steps = []
    history = run(model, x, y, epochs=2, on_step=steps.append, clip_norm=0.5)
    assert [(step.epoch, step.step) for step in steps] == [(e, s) for e in (1, 2) for s in range(1, 6)]
    assert max(step.report.norm for step in steps[:5]) == history.grad_norm_max[0]
    assert np.mean([bool(step.report.clipped) for step in steps[5:]]) == history.clipped_share[1]
    assert history.skipped_share == [0.0, 0.0] and not any(step.skipped for step in steps)


def test_the_rate_of_examples_and_the_learning_rate_at_the_start(make_model, monkeypatch):
    x, y = data()
    model = make_model()
    optimizer = SGD(model, lr=0.1)
    clock = SimpleNamespace(perf_counter=iter([0.0, 2.0, 10.0, 11.0]).__next__)
    monkeypatch.setattr("numgru.training.epoch.time", clock)
    history = run(model, x, y, optimizer, epochs=2, on_step=lambda step: setattr(optimizer, "lr", 0.2))
    assert (history.examples_per_second, history.lr) == ([18.5, 37.0], [0.1, 0.2])


def test_the_bar_shows_the_steps_that_count(make_model, capsys):
    x, y = data()
    y[0] = np.inf
    steps = []
    options = {"epochs": 1, "shuffle": False, "nonfinite": "skip", "on_step": steps.append, "progress": True}
    history = run(make_model(), x, y, clip_norm=1.0, **options)
    norm = steps[-1].report.norm
    assert history.skipped_share == [0.2] and 0 < history.clipped_share[0] < 1 and norm < history.grad_norm_max[0]
    shown = f"loss={history.loss[0]:.4g}, |g|={norm:.3g}, clipped={history.clipped_share[0]:.0%}"
    assert shown in capsys.readouterr().err.splitlines()[-1]


def test_progress_is_one_bar_for_the_whole_run(make_model, capsys, tmp_path):
    x, y = data()
    model, path = make_model(), tmp_path / "run.npz"
    run(model, x, y, epochs=2, progress=True, checkpoint=path)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "loss=" in shown and "|g|=" in shown and "clipped=0%" in shown
    assert "10/10" in shown
    assert shown.count("\n") == 1  # all but the last line is overwritten
    run(model, x, y, epochs=3, progress=True, checkpoint=path, resume=True)
    shown = capsys.readouterr().err
    assert "10/15" in shown and "epoch 3/3" in shown and "15/15" in shown


def test_missing_tqdm_is_one_clear_line(make_model, monkeypatch):
    real = builtins.__import__

    def without_tqdm(name, *args):
        if name == "tqdm":
            raise ImportError
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    x, y = data()
    model = make_model()
    with pytest.raises(ImportError, match=r"pip install 'numgru\[cli\]'"):
        run(model, x, y, progress=True)


def test_diverged_loss(make_model):
    x, y = data()
    y[20:] = np.inf
    model = make_model()
    with pytest.raises(
        TrainingDivergedError, match=r"epoch 1, step 3: the loss is inf \(y holds NaN or infinity\); .* checkpoint=PATH"
    ) as caught:
        run(model, x, y, shuffle=False)
    assert (caught.value.epoch, caught.value.step, caught.value.checkpoint) == (1, 3, None)
    assert np.isfinite(model.flat_parameters).all()


def test_diverged_gradient_names_the_parameter_and_the_checkpoint(make_model, tmp_path):
    x, y = data()
    model = make_model()
    path = tmp_path / "run.npz"
    backward = model.backward
    steps = []

    def broken(dy, need_dx):
        steps.append(1)
        backward(dy, need_dx=need_dx)
        if len(steps) == 7:
            model.gradients["b"][1] = np.nan

    model.backward = broken
    with pytest.raises(TrainingDivergedError, match=r"epoch 2, step 2: gradients\['b'\].*, after epoch 1\.") as caught:
        run(model, x, y, checkpoint=path, clip_norm=1.0)
    assert caught.value.checkpoint == str(path) and str(path) in str(caught.value)


@pytest.mark.parametrize(("much", "loss"), [(np.nan, "nan"), (1e200, "inf")])
def test_diverged_validation(make_model, much, loss):
    x, y = data()
    with pytest.raises(TrainingDivergedError, match=f"epoch 1, validation: the loss is {loss}"):
        run(make_model(), x, y, validation=(x, y + much))


def test_there_is_no_checkpoint_before_the_first(make_model, tmp_path):
    with pytest.raises(TrainingDivergedError, match="there is no checkpoint yet") as caught:
        run(make_model(), X, Y * np.nan, checkpoint=tmp_path / "run.npz")
    assert caught.value.checkpoint is None


def test_the_checkpoint_is_there_when_the_epoch_is_reported(make_model, tmp_path):
    path, saved = tmp_path / "run.npz", []
    on_epoch = lambda history: saved.append(len(load_arrays(path)[1]["history"]["loss"]))  # noqa: E731
    run(make_model(), X, Y, epochs=2, checkpoint=path, on_epoch=on_epoch)
    assert saved == [1, 2]


@pytest.mark.parametrize("flag", ["shuffle", "restore_best", "progress", "resume"])
@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_flag_is_true_or_false(make_model, flag, value):
    with pytest.raises(TypeError, match=f"{flag}: expected True or False, got {type(value).__name__} "):
        run(make_model(), *data(), **{flag: value})


def test_a_bare_gru_is_to_be_wrapped():
    model = GRU(3, 2, seed=0)
    with pytest.raises(TypeError, match=r"model: .* one array, got GRU\(3, 2\), .*; pass numgru\.Sequential\(layer\)"):
        run(model, np.zeros((8, 5, 3)), np.zeros((8, 5, 2)))


def test_history_of_nothing():
    assert (len(History()), History().best_epoch) == (0, 0)


X, Y = data()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": Y[:-1]}, ValueError, "y: expected 37 examples along axis 0, as x has along axis 0, got 36"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "x: expected at least one example"),
        ({"x": X.astype(complex)}, TypeError, r"x: expected real numbers .* got dtype complex128"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size: expected an integer of at least 1, got float"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"seed": -1}, ValueError, "seed"),
        ({"batch_axis": 2}, ValueError, "x: expected more than 2 dimensions"),
        ({"batch_axis": -1}, ValueError, "batch_axis: expected an integer of at least 0"),
        ({"batch_axis": (0, 1, 2)}, ValueError, "batch_axis: expected an integer, or two"),
        ({"validation": (X[:0], Y[:0])}, ValueError, r"validation\[0\]: expected at least one example"),
        ({"validation": (X, Y[:3])}, ValueError, r"validation\[1\]: expected 37 examples"),
        ({"validation": X}, TypeError, r"validation: expected \(x, y\), \(x, y, lengths\) or None"),
        ({"clip_norm": -1}, ValueError, "clip_norm: expected a number above 0, got -1"),
        ({"clip_value": np.nan}, ValueError, "clip_value: expected a number above 0, got nan"),
        ({"clip_norm": 1, "clip_value": 1}, ValueError, "clip_norm, clip_value: expected at most one, got 1 and 1"),
        ({"clip_adaptive": 0}, ValueError, "clip_adaptive: expected a number above 0, got 0"),
        ({"clip_norm_per_array": "1"}, TypeError, "clip_norm_per_array: expected a number above 0, got str"),
        ({"norm_type": 3}, ValueError, r"norm_type: expected 1, 2 or math\.inf, got 3"),
        ({"nonfinite": "drop"}, ValueError, "nonfinite: expected one of .* got 'drop'"),
        ({"patience": 3}, ValueError, r"patience: expected validation=\(x, y\)"),
        ({"patience": 0, "validation": (X, Y)}, ValueError, "patience: expected an integer of at least 1"),
        ({"loss": "mse"}, TypeError, "loss: expected a numgru Loss, got str"),
        ({"optimizer": "sgd"}, TypeError, "optimizer: expected a numgru Optimizer, got str"),
        ({"schedule": 0.1}, TypeError, "schedule: expected a numgru Schedule or None, got float"),
        ({"resume": True}, ValueError, "resume: expected checkpoint=PATH"),
        ({"checkpoint": 5}, TypeError, r"checkpoint: expected a path or None, got int \(5\)"),
        ({"on_step": 3}, TypeError, r"on_step: expected a function or None, got int \(3\)"),
        ({"on_epoch": "x"}, TypeError, r"on_epoch: expected a function or None, got str"),
        ({"x": [[1], [1, 2]]}, ValueError, "x: expected an array, got what NumPy can't make one of"),
        (
            {"checkpoint": "/no/such/folder/run.npz"},
            FileNotFoundError,
            "expected a path in an existing folder",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named_before_any_step(make_model, options, error, message):
    model = make_model()
    start = model.flat_parameters.copy()
    with pytest.raises(error, match=message):
        run(model, **{"x": X, "y": Y, **options})
    np.testing.assert_array_equal(model.flat_parameters, start)


def test_parts_of_another_run_are_refused(make_model):
    x, y = data()
    model, other = make_model(), make_model()
    with pytest.raises(TypeError, match="model: expected a numgru Layer"):
        run("model", x, y, SGD(model))
    with pytest.raises(ValueError, match="optimizer: expected the optimizer of this model"):
        run(model, x, y, SGD(other))
    with pytest.raises(ValueError, match="schedule: expected the schedule of this optimizer"):
        run(model, x, y, schedule=CosineAnnealingLR(SGD(model), 3))


def test_the_error_of_a_diverged_training_goes_to_other_processes():
    error = TrainingDivergedError(2, 3, "the loss is nan", "run.npz", ("x",))
    twin = pickle.loads(pickle.dumps(error))
    assert str(twin) == str(error) and (twin.epoch, twin.step, twin.checkpoint) == (2, 3, "run.npz")
    assert (twin.reason, twin.wrong_data) == ("the loss is nan", ("x",))


@pytest.mark.parametrize(
    ("x", "y", "cause"), [(np.nan, 0, "x holds NaN"), (0, np.inf, "y holds NaN"), (0, 1e200, "inf; ")]
)
def test_data_that_are_not_finite_are_named(make_model, x, y, cause):
    bad_x, bad_y = data()
    bad_x[3, 1] += x
    bad_y[3, 1] += y
    with pytest.raises(TrainingDivergedError, match=f"the loss is .*{cause}") as caught:
        run(make_model(), x=bad_x, y=bad_y)
    wrong = () if cause == "inf; " else (cause[0],)
    assert caught.value.wrong_data == wrong and caught.value.reason.startswith("the loss is ")
    assert str(caught.value).endswith("Correct the data" if wrong else "Lower lr or set clip_norm")
