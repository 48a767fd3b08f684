"""Optimizers against the equations in float64 NumPy, and against PyTorch."""

import numpy as np
import pytest

from numgru.kernels.optimizers import CHUNK
from numgru.kernels.threads import in_parts
from numgru.training import SGD, Adam, AdamW, RMSprop, clip_grad_norm_, clip_grad_norm_per_array_, clip_grad_value_

SETTINGS = [
    (SGD, {}),
    (SGD, {"weight_decay": 0.1}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (RMSprop, {}),
    (RMSprop, {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.5}),
    (Adam, {}),
    (Adam, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, {}),
    (AdamW, {"betas": (0.0, 0.5), "weight_decay": 0.3}),
]
IDS = [f"{optimizer.__name__}{options or ''}" for optimizer, options in SETTINGS]
STEPS = 25


def oracle(optimizer, options, p, gradients, lr):
    """The published equations, one array a quantity."""
    p, decay = p.astype(np.float64), options.get("weight_decay", 0.01 if optimizer is AdamW else 0.0)
    momentum, eps = options.get("momentum", 0.0), options.get("eps", 1e-8)
    m, s, v = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        g = g.astype(np.float64)
        if optimizer is AdamW:
            p = p - lr * decay * p
        else:
            g = g + decay * p
        if optimizer is SGD:
            v = momentum * v + g
            p = p - lr * (g + momentum * v if options.get("nesterov") else v)
        elif optimizer is RMSprop:
            alpha = options.get("alpha", 0.99)
            s = alpha * s + (1 - alpha) * g**2
            v = momentum * v + g / (np.sqrt(s) + eps)
            p = p - lr * v
        else:
            b1, b2 = options.get("betas", (0.9, 0.999))
            m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
            p = p - lr * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)
    return p


def gradients(model, dtype, steps=STEPS, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(model.flat_gradients.size).astype(dtype) for _ in range(steps)]


def run(optimizer, gradients):
    for gradient in gradients:
        optimizer.model.flat_gradients[...] = gradient
        optimizer.step()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [1, 63, 64, 65])
@pytest.mark.parametrize(("optimizer", "options"), SETTINGS, ids=IDS)
def test_equations(make_model, optimizer, options, hidden, dtype):
    model = make_model(1, 1, hidden, dtype)
    start, grads = model.flat_parameters.copy(), gradients(model, dtype)
    run(optimizer(model, lr=0.01, **options), grads)
    rtol = 1e-4 if dtype == np.float32 else 1e-11
    expected = oracle(optimizer, options, start, grads, 0.01)
    assert model.flat_parameters.dtype == dtype
    np.testing.assert_allclose(model.flat_parameters, expected, rtol=rtol, atol=rtol * 1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("optimizer", "options"), SETTINGS, ids=IDS)
def test_pytorch_agrees(make_model, optimizer, options, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed: parity not checked")
    model = make_model(dtype=dtype)
    parameter = torch.nn.Parameter(torch.tensor(model.flat_parameters))
    ours = optimizer(model, **options)
    theirs = getattr(torch.optim, optimizer.__name__)([parameter], **options)
    assert ours.lr == theirs.param_groups[0]["lr"]
    for step, gradient in enumerate(gradients(model, dtype)):
        ours.lr = theirs.param_groups[0]["lr"] = 0.02 / (step + 1)
        run(ours, [gradient])
        parameter.grad = torch.tensor(gradient)
        theirs.step()
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(model.flat_parameters, parameter.detach().numpy(), rtol=rtol, atol=rtol * 1e-1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("optimizer", "options"), SETTINGS, ids=IDS)
def test_any_number_of_threads_gives_the_same_bits(make_model, optimizer, options, dtype):
    """Also where some of them have nothing to do, and where the last one's share ends within a register."""
    found = []
    for parts in (1, 2, 3, 7):
        model = make_model(1, 1, CHUNK + 5, dtype)  # three times as many parameters
        with in_parts(parts):
            run(optimizer(model, lr=0.01, **options), gradients(model, dtype, steps=2))
        found.append(model.flat_parameters)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(("optimizer", "options"), SETTINGS, ids=IDS)
def test_state_continues_bit_for_bit(make_model, optimizer, options):
    model, other = make_model(dtype=np.float32), make_model(dtype=np.float32, seed=9)
    grads = gradients(model, np.float32)
    first = optimizer(model, **options)
    run(first, grads[:10])
    second = optimizer(other, **options)
    state, there = first.state_dict(), model.flat_parameters.copy()
    run(first, grads[10:])
    second.load_state_dict(state)
    other.flat_parameters[...] = there
    run(second, grads[10:])
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)
    assert state["steps"] == 10 and second.steps == STEPS


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_norm_per_array_])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("optimizer", "options"), SETTINGS, ids=IDS)
@pytest.mark.parametrize("limit", [0.3, 1e-3, 1e9])
def test_clipping_on_the_way_gives_the_bits_of_two_passes(make_model, clip, optimizer, options, dtype, limit):
    one, two = (optimizer(make_model(hidden=65, dtype=dtype), lr=0.1, **options) for _ in range(2))
    for gradient in gradients(one.model, dtype, 5):
        for each, in_place in ((one, False), (two, True)):
            each.model.flat_gradients[...] = gradient
            each.step(clip(each.model.gradients, limit, in_place=in_place))
        np.testing.assert_array_equal(one.model.flat_gradients, gradient)
    np.testing.assert_array_equal(one.model.flat_parameters, two.model.flat_parameters)
    assert one.steps == two.steps == 5


def test_the_report_of_flat_gradients_will_do_too(make_model):
    one, two = (SGD(make_model(), lr=0.1) for _ in range(2))
    for each in (one, two):
        each.model.flat_gradients[...] = 3.0
    one.step(clip_grad_norm_(one.model.flat_gradients, 1.0, in_place=False))
    two.step(clip_grad_norm_(two.model.flat_gradients, 1.0))
    np.testing.assert_array_equal(one.model.flat_parameters, two.model.flat_parameters)


def test_a_factor_too_small_for_a_normal_number(make_model):
    one, two = (SGD(make_model(dtype=np.float32), lr=1.0) for _ in range(2))
    for each, in_place in ((one, False), (two, True)):
        start = each.model.flat_parameters.copy()
        each.model.flat_gradients[...] = 3e38
        each.step(clip_grad_norm_(each.model.gradients, 1e-2, in_place=in_place))
    np.testing.assert_array_equal(one.model.flat_parameters, two.model.flat_parameters)
    assert np.linalg.norm(one.model.flat_parameters - start) == pytest.approx(1e-2, rel=1e-4)


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_a_skipped_report_is_no_step(make_model, clip):
    optimizer = Adam(make_model(), lr=0.1)
    run(optimizer, gradients(optimizer.model, np.float64, 2))
    parameters, state = optimizer.model.flat_parameters.copy(), optimizer.state_dict()
    optimizer.model.gradients["b"][0] = np.nan
    optimizer.step(clip(optimizer.model.gradients, 1.0, nonfinite="skip"))
    np.testing.assert_array_equal(optimizer.model.flat_parameters, parameters)
    np.testing.assert_array_equal(optimizer.state_dict()["exp_avg"], state["exp_avg"])
    assert optimizer.steps == 2


def test_lr_is_mutable_and_zero_stands_still(make_model):
    model = make_model()
    start = model.flat_parameters.copy()
    optimizer = SGD(model, lr=0.5)
    optimizer.lr = 0
    run(optimizer, gradients(model, np.float64, 1))
    np.testing.assert_array_equal(model.flat_parameters, start)
    assert (optimizer.lr, optimizer.initial_lr) == (0.0, 0.5)


def test_parameters_that_have_moved_are_still_found(make_model):
    """A container that takes a layer in gives it other buffers."""
    model = make_model()
    optimizer = SGD(model, lr=1.0)
    parameters, grads = np.zeros((2, model.flat_parameters.size))
    model._move(parameters, grads)
    start = parameters.copy()
    grads[...] = 1.0
    optimizer.step()
    np.testing.assert_array_equal(parameters, start - 1.0)


def test_foreign_state_is_refused_and_nothing_changes(make_model):
    optimizer = Adam(make_model(), lr=0.1)
    run(optimizer, gradients(optimizer.model, np.float64, 2))
    before = optimizer.state_dict()
    for other in (
        Adam(make_model(), lr=0.1, betas=(0.9, 0.99)),
        AdamW(make_model(), lr=0.1),
        SGD(make_model()),
        Adam(make_model(hidden=5), lr=0.1),
        Adam(make_model(dtype=np.float32), lr=0.1),
    ):
        with pytest.raises(ValueError, match="state_dict"):
            optimizer.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="steps"):
        optimizer.load_state_dict({**before, "steps": -1, "lr": 7.0})
    after = optimizer.state_dict()
    assert after["steps"] == 2 and after["lr"] == 0.1
    np.testing.assert_array_equal(before["exp_avg"], after["exp_avg"])


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (SGD, {"lr": -1}, "lr: expected a finite number of at least 0, got -1"),
        (SGD, {"lr": np.inf}, "lr"),
        (SGD, {"momentum": np.nan}, "momentum"),
        (SGD, {"nesterov": True}, "nesterov: expected a positive momentum"),
        (RMSprop, {"alpha": 1.0}, "alpha: expected a number of at least 0 and below 1"),
        (RMSprop, {"eps": -1e-8}, "eps"),
        (Adam, {"betas": (0.9,)}, "betas"),
        (Adam, {"betas": (0.9, 1.0)}, r"betas\[1\]"),
        (AdamW, {"weight_decay": -0.1}, "weight_decay"),
    ],
)
def test_bad_settings(make_model, optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        optimizer(make_model(), **options)


def test_bad_types(make_model):
    with pytest.raises(TypeError, match="model: expected a numgru layer, got list"):
        SGD([])
    with pytest.raises(TypeError, match="lr: expected a finite number of at least 0, got str"):
        SGD(make_model(), lr="0.1")
