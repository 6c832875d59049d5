"""Plain Paddle, as a tutorial writes it, runs unchanged on our networks and our data."""

import numpy as np
import paddle

from lenet_paddle import build_model, load_dataset


def test_the_tutorials_lines_run_on_our_pieces(tmp_path):
    paddle.seed(0)
    np.random.seed(0)  # noqa: NPY002  # with which hapi shuffles
    train_set = load_dataset("mnist", "train").take(slice(0, 1280)).as_paddle_dataset()
    eval_set = load_dataset("mnist", "test").take(slice(0, 128)).as_paddle_dataset()
    model = paddle.Model(build_model("lenet_subclass"))
    model.prepare(
        paddle.optimizer.Adam(learning_rate=0.001, parameters=model.parameters()),
        paddle.nn.CrossEntropyLoss(),
        paddle.metric.Accuracy(),
    )
    model.fit(
        train_set,
        eval_set,
        epochs=1,
        batch_size=64,
        verbose=1,
        callbacks=paddle.callbacks.VisualDL(log_dir=str(tmp_path / "vdl")),
    )
    result = model.evaluate(eval_set, batch_size=64, verbose=0)
    assert result["acc"] > 0.3
    outputs = model.predict(eval_set, batch_size=64, stack_outputs=True, verbose=0)
    assert outputs[0].shape == (128, 10)
    model.save(str(tmp_path / "lenet"))
    assert (tmp_path / "lenet.pdparams").is_file() and (tmp_path / "lenet.pdopt").is_file()
