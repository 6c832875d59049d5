"""Behaviour of Paddle that the project works around; a failure means a workaround can go."""

import numpy as np
import paddle
import pytest

from lenet_paddle import BatchLoader
from lenet_paddle.data.imageset import ImageSet


def image_set(num_images):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, 28, 28)).astype(np.uint8)
    return ImageSet(images, rng.integers(0, 10, num_images), tuple("0123456789"))


class Spy(paddle.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.events, self.losses, self.train_loss = [], [], None

    def on_train_batch_end(self, step, logs=None):
        self.losses.append(logs["loss"][0])

    def on_epoch_end(self, epoch, logs=None):
        self.events.append("epoch_end")
        self.train_loss = logs["loss"][0]

    def on_eval_end(self, logs=None):
        self.events.append("eval_end")


def fitted(accumulate=1, learning_rate=0.1):
    paddle.seed(0)
    network = paddle.vision.models.LeNet()
    model = paddle.Model(network)
    optimizer = paddle.optimizer.SGD(learning_rate, parameters=network.parameters())
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    spy, loader = Spy(), BatchLoader(image_set(96), 32)
    model.fit(loader, loader, verbose=0, callbacks=[spy], accumulate_grad_batches=accumulate)
    return spy, network


def test_hapi_logs_the_last_batchs_loss():
    spy, _ = fitted()
    assert spy.train_loss == spy.losses[-1] != pytest.approx(np.mean(spy.losses), rel=1e-3)


def test_on_epoch_end_comes_before_the_evaluation():
    assert fitted()[0].events == ["epoch_end", "eval_end"]


def test_hapi_sums_accumulated_gradients():
    summed, averaged = fitted(3, 0.1 / 3)[1], fitted(3, 0.1)[1]
    paddle.seed(0)
    start = paddle.vision.models.LeNet().fc[2].bias.numpy()
    small, large = (n.fc[2].bias.numpy() - start for n in (summed, averaged))
    np.testing.assert_allclose(large, 3 * small, rtol=1e-4, atol=1e-7)
    whole = paddle.Model(paddle.vision.models.LeNet())
    images, labels = next(iter(BatchLoader(image_set(96), 96)))
    paddle.seed(0)
    network = paddle.vision.models.LeNet()
    optimizer = paddle.optimizer.SGD(0.1, parameters=network.parameters())
    whole = paddle.Model(network)
    whole.prepare(optimizer, paddle.nn.CrossEntropyLoss())
    whole.train_batch([images], [labels])
    np.testing.assert_allclose(large, 3 * (network.fc[2].bias.numpy() - start), rtol=1e-3)


def test_paddles_mnist_reader_fails_unless_the_count_is_a_multiple_of_100(tmp_path):
    import gzip
    import struct

    images, labels = tmp_path / "i.gz", tmp_path / "l.gz"
    images.write_bytes(gzip.compress(struct.pack(">4i", 2051, 7, 28, 28) + bytes(7 * 784)))
    labels.write_bytes(gzip.compress(struct.pack(">2i", 2049, 7) + bytes(7)))
    with pytest.raises(struct.error):
        paddle.vision.datasets.MNIST(str(images), str(labels))


def test_the_built_in_lenet_has_no_activation_between_its_linear_layers():
    kinds = [type(layer).__name__ for layer in paddle.vision.models.LeNet().fc]
    assert kinds == ["Linear", "Linear", "Linear"]


def test_model_save_names_the_inference_files_json_and_pdiparams(tmp_path):
    spec = paddle.static.InputSpec([None, 1, 28, 28], "float32", "image")
    paddle.Model(paddle.vision.models.LeNet(), inputs=[spec]).save(
        str(tmp_path / "m"), training=False
    )
    assert {p.name for p in tmp_path.iterdir()} == {"m.json", "m.pdiparams"}


def test_a_pylayer_has_no_gradient_for_some_of_its_inputs_only():
    """Nor `retain_graph`, which ends the process: see `models.layers.ChainedSequential`."""

    class Product(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, gradient):
            a, b = ctx.saved_tensor()
            return gradient * b, gradient * a

    a, b = (paddle.to_tensor([value], stop_gradient=False) for value in (2.0, 3.0))
    gradients = paddle.grad(Product.apply(a, b), [a, b])
    assert [gradient.item() for gradient in gradients] == [3.0, 2.0]
    with pytest.raises(ValueError, match="None"):
        paddle.grad(Product.apply(a, b), a)
