"""What each patch of hapi saves, counted.

Each test looks at stock hapi first; if that part fails with a later Paddle, the patch can go.
"""

import contextlib

import numpy as np
import paddle
import pytest
from training_help import bars, run_two_ranks

from lenet_paddle import BatchLoader, build_model
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.training import hapi_patches

NUM_STEPS = 4  # batches of 32 in 100 images


@pytest.fixture
def model():
    network = build_model("lenet_builtin", 3)
    label = paddle.static.InputSpec([None, 1], "int64", "label")
    made = paddle.Model(network, inputs=[image_spec(28)], labels=[label])
    optimizer = paddle.optimizer.SGD(parameters=network.parameters())
    made.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    return made


def run_epoch(model, callbacks=(), patch=None, accumulate=1):
    loader = BatchLoader(bars(100), 32)
    with patch or contextlib.nullcontext():
        model.fit(
            loader,
            epochs=1,
            verbose=0,
            callbacks=list(callbacks),
            accumulate_grad_batches=accumulate,
        )


def cheap(model):
    return hapi_patches.cheap_layer_calls(model.network, model.network.parameters())


@pytest.fixture
def walks(monkeypatch):
    """Counts walks over the layers of a network while a training step runs."""
    counted = []
    real = paddle.nn.Layer.named_sublayers

    def named_sublayers(self, *args, **kwargs):
        counted.append(self)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(paddle.nn.Layer, "named_sublayers", named_sublayers)
    return counted


def test_train_and_clear_gradients_walk_over_the_layers_at_each_step(model, walks):
    run_epoch(model)
    stock = sum(layer is model.network for layer in walks)
    assert stock >= 2 * NUM_STEPS
    model.network.train()
    walks.clear()
    run_epoch(model, patch=cheap(model))
    assert sum(layer is model.network for layer in walks) <= stock - 2 * NUM_STEPS + 2


def test_cleared_gradients_are_filled_with_zeros_or_gone(model):
    run_epoch(model)
    assert all(p.grad is not None and not p.grad.any() for p in model.network.parameters())
    run_epoch(model, patch=cheap(model))
    assert all(p.grad is None for p in model.network.parameters())


def test_the_cheap_calls_change_no_weight():
    def trained(is_patched):
        with paddle.utils.unique_name.guard():
            paddle.seed(0)
            network = build_model("lenet_builtin", 3)
            made = paddle.Model(network, inputs=[image_spec(28)])
            optimizer = paddle.optimizer.Adam(parameters=network.parameters())
            made.prepare(optimizer, paddle.nn.CrossEntropyLoss())
            run_epoch(made, patch=cheap(made) if is_patched else None)
        return network.state_dict()

    stock, patched = trained(False), trained(True)
    for name, tensor in stock.items():
        np.testing.assert_array_equal(patched[name].numpy(), tensor.numpy())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_short_steps_give_the_weights_the_losses_and_the_metric_of_hapi(accumulate):
    def trained(is_patched):
        logged = []

        class Log(paddle.callbacks.Callback):
            def on_train_batch_end(self, step, logs=None):
                logged.append((logs["loss"], logs["acc"]))

        with paddle.utils.unique_name.guard():
            paddle.seed(0)
            network = build_model("lenet_builtin", 3)
            made = paddle.Model(network, inputs=[image_spec(28)])
            optimizer = paddle.optimizer.Adam(parameters=network.parameters())
            made.prepare(optimizer, paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
            patch = hapi_patches.short_steps(made) if is_patched else contextlib.nullcontext()
            with patch:
                run_epoch(made, [Log()], accumulate=accumulate)
            assert "train_batch" not in vars(made._adapter)
        return [p.numpy().tobytes() for p in network.parameters()], logged

    assert trained(True) == trained(False)


def test_an_evaluation_still_changes_the_mode(model):
    with cheap(model):
        model.network.eval()
        model.network.train()
        assert all(layer.training for layer in model.network.sublayers(include_self=True))
    assert "train" not in vars(model.network) and "clear_gradients" not in vars(model.network)


def test_hapi_clears_gradients_before_any_callback_and_the_hook_comes_before_that(model):
    parameters = model.network.parameters()
    seen, hooked = [], []

    class Reader(paddle.callbacks.Callback):
        def on_train_batch_end(self, step, logs=None):
            seen.append(any(p.grad is not None and p.grad.any() for p in parameters))

    def hook(given):
        hooked.append(all(p.grad is not None for p in given))

    patch = hapi_patches.gradient_hooks(model._optimizer, parameters, [hook])
    run_epoch(model, [Reader()], patch)
    assert seen == [False] * NUM_STEPS
    assert hooked == [True] * NUM_STEPS
    run_epoch(model)
    assert len(hooked) == NUM_STEPS  # the optimizer is as it was


def test_the_hook_is_called_once_for_accumulated_batches(model):
    hooked = []
    parameters = model.network.parameters()
    with hapi_patches.gradient_hooks(model._optimizer, parameters, [hooked.append]):
        loader = BatchLoader(bars(100), 32)
        model.fit(loader, epochs=1, verbose=0, accumulate_grad_batches=3)
    assert len(hooked) == 2  # three batches, and the last one


SCRIPT = """
import contextlib, types
from lenet_paddle.training.hapi_patches import without_gradient_sync
network = paddle.nn.Linear(2, 1)
parallel = paddle.DataParallel(network)
gradients = []
for sync in (True, False):
    model = types.SimpleNamespace(_adapter=types.SimpleNamespace(ddp_model=parallel))
    with contextlib.nullcontext() if sync else without_gradient_sync(model):
        parallel(paddle.full([1, 2], 1.0 + rank)).sum().backward()
    gradients.append(network.weight.grad.flatten().tolist())
    network.weight.clear_gradient(False)
    network.bias.clear_gradient(False)
report(gradients)
"""


@pytest.mark.slow
def test_dataparallel_averages_inside_backward_unless_that_is_switched_off(tmp_path):
    """That the loss of a rank then raises, and aborts nothing, is in workflows/test_ranks.py."""
    first, second = run_two_ranks(SCRIPT, tmp_path)
    assert first[0] == second[0] == [1.5, 1.5]
    assert (first[1], second[1]) == ([1.0, 1.0], [2.0, 2.0])
