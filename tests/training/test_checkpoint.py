"""An interrupted run, resumed, ends with the very weights of an uninterrupted one."""

from contextlib import nullcontext, suppress
from dataclasses import asdict

import numpy as np
import pytest

from numgru import GRU, LastStep, Layer, Linear, MeanOverTime, Sequential
from numgru._files import load_arrays, save_arrays
from numgru.training import (
    SGD,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    HuberLoss,
    L1Loss,
    MSELoss,
    ReduceLROnPlateau,
    RMSprop,
    StepLR,
    fit,
    load_weights,
)

OPTIMIZERS = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (RMSprop, {"momentum": 0.5}),
    (Adam, {}),
    (AdamW, {}),
]
SCHEDULES = [
    (ConstantLR, {"factor": 0.5, "total_iters": 3}),
    (StepLR, {"step_size": 2}),
    (CosineAnnealingLR, {"T_max": 6}),
    (ReduceLROnPlateau, {"patience": 0, "threshold": 0.3, "cooldown": 1}),
]
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((37, 3)), rng.standard_normal((37, 2))
X_VALID, Y_VALID = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))


class KilledError(Exception):
    pass


def kill_at(epoch, step):
    def on_step(done):
        if (done.epoch, done.step) == (epoch, step):
            raise KilledError

    return on_step


def run(make_model, checkpoint=None, optimizer=SGD, options=None, schedule=None, model_options=None, **more):
    """A fresh process, as far as the run can tell: new model, new optimizer, new schedule."""
    model = make_model(**{"dtype": np.float32, **(model_options or {})})
    made = optimizer(model, lr=0.05, **(options or {}))
    made_schedule = schedule[0](made, **schedule[1]) if schedule else None
    settings = {"loss": MSELoss(), "epochs": 6, "batch_size": 8, "seed": 5, "validation": (X_VALID, Y_VALID)}
    settings |= more
    x, y = settings.pop("x", X), settings.pop("y", Y)
    history = fit(model, x, y, optimizer=made, schedule=made_schedule, checkpoint=checkpoint, **settings)
    return model.flat_parameters, history


def same(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    histories = [asdict(history) for _, history in (first, second)]
    for history in histories:
        history.pop("examples_per_second")
    assert histories[0] == histories[1]


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
@pytest.mark.parametrize("schedule", [None, *SCHEDULES], ids=lambda s: s[0].__name__ if s else "none")
def test_resume_is_bit_identical(make_model, tmp_path, optimizer, options, schedule):
    parts = {"optimizer": optimizer, "options": options, "schedule": schedule, "clip_norm": 0.5}
    whole = run(make_model, **parts)
    for name, first in (("between", {"epochs": 2}), ("within", {"on_step": kill_at(4, 3)})):
        path = tmp_path / f"{name}.npz"
        with pytest.raises(KilledError) if name == "within" else nullcontext():
            run(make_model, path, **parts, **first)
        same(whole, run(make_model, path, **parts, resume=True))


@pytest.mark.parametrize("epoch", range(1, 7))
def test_killed_in_any_epoch(make_model, tmp_path, epoch):
    path = tmp_path / "run.npz"
    whole = run(make_model, optimizer=Adam)
    with pytest.raises(KilledError):
        run(make_model, path, optimizer=Adam, on_step=kill_at(epoch, 5))
    assert path.exists() == (epoch > 1)
    assert sorted(tmp_path.iterdir()) == [path] * (epoch > 1)
    same(whole, run(make_model, path, optimizer=Adam, resume=True))


def test_checkpoints_do_not_change_the_run(make_model, tmp_path):
    same(run(make_model), run(make_model, tmp_path / "run.npz"))


def test_numpy_numbers_as_settings(make_model, tmp_path):
    numbers = {
        "clip_norm": np.float32(0.5),
        "batch_size": np.int64(8),
        "seed": np.int64(5),
        "shuffle": np.True_,
    }
    path = tmp_path / "run.npz"
    run(make_model, path, **numbers, epochs=2, options={"momentum": np.float32(0.5)})
    whole = run(make_model, **numbers, options={"momentum": 0.5})
    same(whole, run(make_model, path, **numbers, options={"momentum": 0.5}, resume=True))


def test_early_stop_survives(make_model, tmp_path):
    path = tmp_path / "run.npz"
    stopping = {"optimizer": SGD, "patience": 2, "epochs": 200, "y": Y * 3}
    whole = run(make_model, **stopping)
    assert 3 < len(whole[1]) < 200, "the run must stop by itself for this test to say anything"
    run(make_model, path, **{**stopping, "epochs": len(whole[1]) - 1})
    same(whole, run(make_model, path, **stopping, resume=True))
    same(whole, run(make_model, path, **stopping, resume=True))  # a finished run stays finished


def test_resumed_in_the_same_process(make_model, tmp_path):
    path = tmp_path / "run.npz"
    whole = run(make_model, optimizer=Adam, schedule=SCHEDULES[1])
    model = make_model(dtype=np.float32)
    optimizer = Adam(model, lr=0.05)
    schedule = StepLR(optimizer, 2)
    rest = {"loss": MSELoss(), "optimizer": optimizer, "schedule": schedule, "batch_size": 8, "seed": 5}
    rest |= {"validation": (X_VALID, Y_VALID), "checkpoint": path, "resume": True, "epochs": 6}
    with pytest.raises(KilledError):
        fit(model, X, Y, **rest, on_step=kill_at(5, 2))
    same(whole, (model.flat_parameters, fit(model, X, Y, **rest)))


def test_other_settings_are_refused_and_nothing_changes(make_model, tmp_path):
    path = tmp_path / "run.npz"
    run(make_model, path, epochs=2, schedule=SCHEDULES[0])
    before = path.read_bytes()
    for key, change in {
        "model": {"model_options": {"hidden": 5}},
        "optimizer": {"optimizer": Adam},
        "schedule": {"schedule": SCHEDULES[1]},
        "loss": {"loss": L1Loss()},
        "batch_size": {"batch_size": 4},
        "seed": {"seed": 6},
        "shuffle": {"shuffle": False},
        "clip_norm": {"clip_norm": 1.0},
        "norm_type": {"norm_type": 1},
        "nonfinite": {"nonfinite": "skip"},
        "data": {"x": X[:30], "y": Y[:30]},
        "validation": {"validation": None},
    }.items():
        with pytest.raises(ValueError, match=f"expected a checkpoint of this run, got one with another {key}: "):
            run(make_model, path, **{"schedule": SCHEDULES[0], "resume": True, **change})
    with pytest.raises(ValueError, match="another data"):
        run(make_model, path, schedule=SCHEDULES[0], resume=True, y=2 * Y)
    with pytest.raises(ValueError, match="another model"):
        run(make_model, path, schedule=SCHEDULES[0], resume=True, model_options={"dtype": np.float64})
    with pytest.raises(ValueError, match="another optimizer"):
        run(make_model, path, schedule=SCHEDULES[0], resume=True, options={"momentum": 0.9})
    with pytest.raises(ValueError, match="another schedule"):
        run(make_model, path, schedule=(ConstantLR, {"factor": 0.4, "total_iters": 3}), resume=True)
    assert path.read_bytes() == before


def test_the_same_numbers_read_otherwise_are_refused(make_model, tmp_path):
    path = tmp_path / "run.npz"
    square = {"x": np.zeros((5, 5, 3)), "y": np.zeros((5, 5, 2), np.int64), "validation": None}
    square["model_options"] = {"dtype": np.float64}
    run(make_model, path, **square, epochs=1)
    for key, change in {"data": {"y": np.zeros((5, 5, 2))}, "batch_axis": {"batch_axis": 1}}.items():
        with pytest.raises(ValueError, match=f"another {key}: "):
            run(make_model, path, **{**square, **change}, resume=True)


def test_an_unfit_state_of_the_optimizer_changes_nothing(make_model, tmp_path):
    path = tmp_path / "run.npz"
    run(make_model, path, epochs=1, options={"momentum": 0.9})
    arrays, metadata = load_arrays(path)
    save_arrays(path, {**arrays, "optimizer.velocity": np.zeros(3, np.float32)}, metadata)
    model = make_model(dtype=np.float32)
    start = model.flat_parameters.copy()
    with pytest.raises(ValueError, match=r"state_dict\['velocity'\]: expected shape"):
        run(lambda **_: model, path, options={"momentum": 0.9}, resume=True)
    np.testing.assert_array_equal(model.flat_parameters, start)


def test_other_loss_settings_are_refused(make_model, tmp_path):
    path = tmp_path / "run.npz"
    run(make_model, path, epochs=1, loss=HuberLoss(1.0))
    with pytest.raises(ValueError, match=r"another loss: .*'delta': 1\.0.*'delta': 2\.0"):
        run(make_model, path, resume=True, loss=HuberLoss(2.0))


def test_an_existing_file_is_not_overwritten(make_model, tmp_path):
    path = tmp_path / "run.npz"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="resume=True continues it"):
        run(make_model, path)
    with pytest.raises(ValueError, match="expected a file saved by numgru"):
        run(make_model, path, resume=True)
    assert path.read_text() == "precious"


def test_another_kind_of_file_is_refused(make_model, tmp_path):
    path = tmp_path / "run.npz"
    save_arrays(path, {"parameters": np.zeros(3)}, {"kind": "weights"})
    with pytest.raises(ValueError, match="expected a numgru training checkpoint 1, got weights"):
        run(make_model, path, resume=True)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04 and no more"], ids=["empty", "csv", "cut"])
def test_a_foreign_file_is_one_short_line(content, make_model, tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a file saved by numgru, got") as caught:
        load_weights(path, make_model())
    assert "pickle" not in str(caught.value)
    np.savez(path, allow_pickle=False, weights=np.zeros(3))
    with pytest.raises(ValueError, match="got an archive of something else"):
        load_weights(path, make_model())


def test_load_weights(make_model, tmp_path):
    path = tmp_path / "run.npz"
    last, _ = run(make_model, restore_best=False, epochs=30, y=Y * 3)
    best, history = run(make_model, path, epochs=30, y=Y * 3)
    assert history.best_epoch < 30
    model = make_model(dtype=np.float32, seed=8)
    load_weights(path, model)
    np.testing.assert_array_equal(model.flat_parameters, last)
    load_weights(path, model, best=True)
    np.testing.assert_array_equal(model.flat_parameters, best)
    with pytest.raises(ValueError, match="expected a checkpoint of this model"):
        load_weights(path, make_model(dtype=np.float64))


def test_load_weights_without_validation(make_model, tmp_path):
    path = tmp_path / "run.npz"
    run(make_model, path, validation=None, epochs=1)
    with pytest.raises(ValueError, match="the run had no validation"):
        load_weights(path, make_model(dtype=np.float32), best=True)


class Dropout(Layer):
    """Half of its input, drawn anew in each forward pass."""

    def __init__(self):
        super().__init__({})
        self.random_state = {"seed": 1, "draws": 0}

    def __call__(self, x):
        return x / 2

    def forward(self, x):
        generator = np.random.default_rng([self.random_state["seed"], self.random_state["draws"]])
        self.random_state = {**self.random_state, "draws": self.random_state["draws"] + 1}
        self.mask = generator.random(x.shape) < 0.5
        return x * self.mask

    def backward(self, dy, *, need_dx=True):
        return dy * self.mask


def test_noise_goes_on_where_it_was(make_model, tmp_path):
    def make(**options):
        return Sequential(make_model(**options), Sequential(Dropout()))

    path = tmp_path / "run.npz"
    whole = run(make)
    with pytest.raises(KilledError):
        run(make, path, on_step=kill_at(4, 3))
    same(whole, run(make, path, resume=True))
    assert load_arrays(path)[1]["random_states"] == {"1.0": {"seed": 1, "draws": 30}}


def test_nothing_in_the_file_needs_pickle(make_model, tmp_path):
    path = tmp_path / "run.npz"
    run(make_model, path, epochs=1, optimizer=Adam)
    arrays, metadata = load_arrays(path)
    assert set(arrays) == {"parameters", "best_parameters", "optimizer.exp_avg", "optimizer.exp_avg_sq"}
    assert metadata["optimizer"]["steps"] == 5


def test_a_damaged_file_is_a_value_error(make_model, tmp_path):
    """Whatever NumPy and zipfile make of a bit that has changed."""
    path = tmp_path / "run.npz"
    run(make_model, path, epochs=1)
    whole, model = path.read_bytes(), make_model(dtype=np.float32)
    load_weights(path, model)
    for at in [*range(40), *range(len(whole) - 120, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 128]) + whole[at + 1 :])
        with suppress(ValueError):
            load_weights(path, model)


def test_other_layers_with_the_same_parameters_are_refused(tmp_path):
    def train(resume, head=LastStep, **options):
        model = Sequential(GRU(3, 4, seed=0, **options), head(), Linear(4, 2, seed=1))
        x = np.random.default_rng(0).standard_normal((5, 37, 3))
        fit(model, x, Y, loss=MSELoss(), optimizer=SGD(model, lr=0.1), epochs=1, batch_axis=(1, 0),
            checkpoint=tmp_path / "run.npz", resume=resume)  # fmt: skip

    train(False)
    for change in ({"head": MeanOverTime}, {"zoneout": 0.5}, {"reset_after": False}):
        with pytest.raises(ValueError, match=r"another layers: .*GRU\(3, 4\)"):
            train(True, **change)
