"""Schedules against their formulas and against PyTorch."""

import math

import numpy as np
import pytest

from numgru.training import SGD, ConstantLR, CosineAnnealingLR, ReduceLROnPlateau, StepLR

SETTINGS = [
    (ConstantLR, {}),
    (ConstantLR, {"factor": 0.5, "total_iters": 1}),
    (StepLR, {"step_size": 3}),
    (StepLR, {"step_size": 1, "gamma": 0.9}),
    (CosineAnnealingLR, {"T_max": 10}),
    (CosineAnnealingLR, {"T_max": 40, "eta_min": 0.01}),
    (ReduceLROnPlateau, {"patience": 2}),
    (ReduceLROnPlateau, {"patience": 0, "factor": 0.5, "cooldown": 2, "min_lr": 0.01, "threshold": 0.05}),
]
IDS = [f"{schedule.__name__}{options}" for schedule, options in SETTINGS]
# Falls, stays, rises, falls by less than any threshold.
LOSSES = [
    1.0,
    0.8,
    0.8,
    0.9,
    0.7,
    0.69,
    0.69,
    0.7,
    0.7,
    0.7,
    0.3,
    0.3,
    0.3,
    0.3,
    0.3,
    0.3,
    0.3,
    0.29,
    0.3,
    0.3,
]


def rates(schedule, losses):
    found = []
    for loss in losses:
        found.append(schedule.optimizer.lr)
        schedule.step(loss)
    return found


@pytest.mark.parametrize(
    ("schedule", "options", "formula"),
    [
        (ConstantLR, {"factor": 0.5, "total_iters": 4}, lambda e: 0.2 * (0.5 if e < 4 else 1)),
        (StepLR, {"step_size": 3, "gamma": 0.5}, lambda e: 0.2 * 0.5 ** (e // 3)),
        (
            CosineAnnealingLR,
            {"T_max": 8, "eta_min": 0.1},
            lambda e: 0.1 + 0.1 * (1 + math.cos(math.pi * e / 8)) / 2,
        ),
    ],
)
def test_formula(make_model, schedule, options, formula):
    found = rates(schedule(SGD(make_model(), lr=0.2), **options), LOSSES)
    np.testing.assert_allclose(found, [formula(epoch) for epoch in range(len(LOSSES))], rtol=1e-14)


def test_plateau_by_hand(make_model):
    schedule = ReduceLROnPlateau(SGD(make_model(), lr=1.0), factor=0.5, patience=1, cooldown=1)
    #  loss 1 is the best; 2, 3 are bad: reduced; 4 cools down; 5, 6 are bad: reduced; 7 cools down
    assert rates(schedule, [1.0, 1, 1, 1, 1, 1, 1]) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("losses", "lr", "options", "expected"),
    [
        ([1, 1], 1.0, {"factor": 0.5, "patience": 0, "threshold": 0}, [1, 0.5]),  # as good isn't better
        ([1, 1], 1.0, {"factor": 0.5, "patience": 0, "eps": 0.5}, [1, 1]),
        ([1] * 12, 1.0, {}, [1] * 11 + [0.1]),
        ([1, 0.9995], 1.0, {"patience": 0}, [1, 1]),
        ([1, 0.99995], 1.0, {"patience": 0}, [1, 0.1]),
        ([1, 1], 1e-8, {"patience": 0}, [1e-8] * 2),
        ([1, 1], 2e-8, {"patience": 0}, [2e-8, 2e-9]),
    ],
)
def test_plateau_at_its_limits(make_model, losses, lr, options, expected):
    schedule = ReduceLROnPlateau(SGD(make_model(), lr=lr), **options)
    assert rates(schedule, [*losses, 0])[1:] == pytest.approx(expected, rel=1e-12)  # after each epoch


@pytest.mark.parametrize(("schedule", "options"), SETTINGS, ids=IDS)
def test_pytorch_agrees(make_model, schedule, options):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed: parity not checked")
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    reference = getattr(torch.optim.lr_scheduler, schedule.__name__)(theirs, **options)
    expected = []
    for loss in LOSSES:
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        reference.step(*[loss] * (schedule is ReduceLROnPlateau))
    np.testing.assert_allclose(
        rates(schedule(SGD(make_model(), lr=0.2), **options), LOSSES), expected, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize(("schedule", "options"), SETTINGS, ids=IDS)
def test_state_continues(make_model, schedule, options):
    first = schedule(SGD(make_model(), lr=0.2), **options)
    expected = rates(first, LOSSES)
    for cut in range(len(LOSSES)):
        first = schedule(SGD(make_model(), lr=0.2), **options)
        rates(first, LOSSES[:cut])
        second = schedule(SGD(make_model(), lr=0.2), **options)
        second.load_state_dict(first.state_dict())
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        assert rates(second, LOSSES[cut:]) == expected[cut:]


def test_foreign_state_is_refused(make_model):
    schedule = StepLR(SGD(make_model()), 3)
    for other in (
        StepLR(SGD(make_model()), 4),
        ConstantLR(SGD(make_model())),
        ReduceLROnPlateau(SGD(make_model())),
    ):
        with pytest.raises(ValueError, match="state_dict: expected the entries"):
            schedule.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("schedule", "options", "error", "message"),
    [
        (ConstantLR, {"factor": 0}, ValueError, "factor: expected a finite number above 0, got 0"),
        (
            ConstantLR,
            {"total_iters": 1.5},
            TypeError,
            "total_iters: expected an integer of at least 1, got float",
        ),
        (StepLR, {"step_size": 0}, ValueError, "step_size: expected an integer of at least 1, got 0"),
        (StepLR, {"step_size": 1, "gamma": np.nan}, ValueError, "gamma"),
        (CosineAnnealingLR, {"T_max": True}, TypeError, "T_max"),
        (CosineAnnealingLR, {"T_max": 1, "eta_min": -1}, ValueError, "eta_min"),
        (ReduceLROnPlateau, {"factor": 1.0}, ValueError, "factor: expected a number above 0 and below 1"),
        (ReduceLROnPlateau, {"patience": -1}, ValueError, "patience"),
    ],
)
def test_bad_settings(make_model, schedule, options, error, message):
    with pytest.raises(error, match=message):
        schedule(SGD(make_model()), **options)


def test_bad_optimizer():
    with pytest.raises(TypeError, match="optimizer: expected a numgru optimizer, got NoneType"):
        StepLR(None, 3)
