"""The loss of pictures that are no digits, and the metrics of those that are."""

import numpy as np
import paddle
import pytest
from training_help import train, weights_of

from lenet_paddle import BatchLoader, load_dataset
from lenet_paddle.data.nondigits import choose_outliers
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.evaluation.metrics import compute_losses
from lenet_paddle.training import callbacks as cb


@pytest.fixture(scope="module")
def digits():
    return load_dataset("mnist", "test").take(slice(0, 210))


def test_the_loss_is_the_mean_of_cross_entropies_to_the_label_or_to_equal_probabilities(rng):
    logits = rng.normal(0, 3, (5, 10)).astype(np.float32)
    labels = np.array([[3], [0], [9], [-1], [-1]])
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    by_hand = [-log_probs[i, label] for i, label in enumerate(labels[:3, 0])]
    by_hand += [-log_probs[3].mean(), -log_probs[4].mean()]
    loss = cb.WeightedLoss(cb.OutlierLoss(paddle.nn.CrossEntropyLoss()))
    parts = loss(paddle.to_tensor(logits), paddle.to_tensor(labels))
    of_digits, of_others = (float(part) for part in parts)
    assert of_digits == pytest.approx(sum(by_hand[:3]) / 5, rel=1e-5)
    assert of_others == pytest.approx(sum(by_hand[3:]) / 5, rel=1e-5)
    loss.weight = 0.5
    assert [float(part) for part in loss(paddle.to_tensor(logits), paddle.to_tensor(labels))] == [
        pytest.approx(of_digits / 2),
        pytest.approx(of_others / 2),
    ]


@pytest.mark.parametrize("kept", [slice(0, 3), slice(3, 5)], ids=["digits", "others"])
def test_a_batch_of_one_sort_has_its_own_mean(rng, kept):
    logits = paddle.to_tensor(rng.normal(0, 3, (5, 10)).astype(np.float32)[kept])
    labels = paddle.to_tensor(np.array([3, 0, 9, -1, -1])[kept])
    total = sum(
        float(part) for part in cb.OutlierLoss(paddle.nn.CrossEntropyLoss())(logits, labels)
    )
    log_probs = paddle.nn.functional.log_softmax(logits).numpy()
    targets = np.eye(10)[labels.numpy()] if kept.start == 0 else np.full((2, 10), 0.1)
    assert total == pytest.approx(-(targets * log_probs).sum(axis=1).mean(), rel=1e-5)


def test_equal_logits_have_the_least_loss_and_no_gradient():
    logits = paddle.zeros([4, 10])
    logits.stop_gradient = False
    loss = cb.OutlierLoss(paddle.nn.CrossEntropyLoss())
    _, part = loss(logits, paddle.full([4], -1, "int64"))
    part.backward()
    assert float(part) == pytest.approx(np.log(10), rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), 0, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_metrics_are_means_over_the_digits(tmp_path, digits, smoothing, accumulate):
    settings = {"optimizer": "sgd", "learning_rate": 1e-12, "epochs": 1, "batch_size": 50}
    settings |= {"label_smoothing": smoothing, "accumulate": accumulate}
    network, state = train(tmp_path, digits, outliers=0.25, **settings)
    loader = BatchLoader(digits, 50, shuffle=True, seed=0, outliers=choose_outliers(0.25, digits))
    images, labels = (np.concatenate(parts) for parts in zip(*loader, strict=True))
    kept = labels[:, 0] >= 0
    logits, labels = compute_logits(network, images)[kept], labels[kept, 0]
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.eye(10)[labels] * (1 - smoothing) + smoothing / 10
    row = state.history[0]
    assert len(labels) == 210 - 4 * 12 - 2
    assert row["train_loss"] == pytest.approx(-(targets * log_probs).sum(1).mean(), rel=1e-4)
    assert row["train_accuracy"] == (logits.argmax(axis=1) == labels).mean()
    if not smoothing:
        assert row["train_loss"] == pytest.approx(compute_losses(logits, labels).mean(), rel=1e-4)


def test_a_share_too_small_for_one_picture_trains_the_same_weights(tmp_path, digits):
    settings = {"epochs": 1, "batch_size": 50}
    plain, before = train(tmp_path / "a", digits, **settings)
    same, after = train(tmp_path / "b", digits, outliers=0.01, **settings)
    for name, weight in weights_of(plain).items():
        np.testing.assert_allclose(weights_of(same)[name], weight, atol=1e-6)
    assert after.history[0]["train_accuracy"] == before.history[0]["train_accuracy"]


def test_after_training_with_them_the_network_is_less_sure_of_them(tmp_path, digits):
    settings = {"epochs": 12, "batch_size": 50, "learning_rate": 0.003}
    replace = choose_outliers(0.5, digits)
    images, labels = replace(digits.images, digits.labels, np.random.default_rng(7))
    from lenet_paddle.data.preprocess import normalise

    sure = []
    for share in (0.0, 0.4):
        network, _ = train(
            tmp_path / f"{share:g}".replace(".", "-"), digits, outliers=share, **settings
        )
        logits = compute_logits(network, normalise(images[labels < 0]))
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        sure.append(probs.max(axis=1).mean())
    assert sure[1] < sure[0] - 0.1
