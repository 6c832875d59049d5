"""Fine-tune a trained network on new data in stages, and measure what it forgets.

output/<name>/finetune.yaml   finetune.log   final -> stages/15-canny_edges
output/<name>/start/          the initial weights, and the settings of their run
output/<name>/stages/01-shot_noise/ ...  a run each, from the best weights of the stage before
output/<name>/matrix.csv      matrix.md      figures/forgetting.png
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import paddle

from lenet_paddle import runtime
from lenet_paddle.config import FinetuneConfig, TrainConfig, to_name
from lenet_paddle.data.datasets import CLEAN, IDENTITY
from lenet_paddle.data.form import SIZE
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data, load_dataset, load_test_set
from lenet_paddle.data.mnist_c import list_corruptions
from lenet_paddle.data.nondigits import choose_outliers
from lenet_paddle.data.transforms import choose_augmentation
from lenet_paddle.errors import InputError, quote, tool_line
from lenet_paddle.evaluation.evaluate import evaluate_corruptions
from lenet_paddle.evaluation.forgetting import (
    BEFORE,
    Matrix,
    format_matrix,
    read_matrix,
    write_matrix,
)
from lenet_paddle.figures.results.forgetting import plot_forgetting
from lenet_paddle.figures.style import save_figure
from lenet_paddle.files import (
    locked,
    new_folder,
    read_text,
    remove_leftovers,
    rename_new,
    swap_link,
    write_text,
)
from lenet_paddle.models import build_model, input_size
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.parameters import weighted_layers
from lenet_paddle.progress import log_to
from lenet_paddle.run_folder import Run, dump_config
from lenet_paddle.settings import load_yaml
from lenet_paddle.training.checkpoint import read_state
from lenet_paddle.training.weights import load_weights, set_weights
from lenet_paddle.workflows.start import resolve_source, saved_classes, source_config
from lenet_paddle.workflows.train import train_and_evaluate

SETTINGS = "finetune.yaml"
WEIGHTS = "model.pdparams"
_log = logging.getLogger(__name__)


def finetune(config: FinetuneConfig) -> Path:
    """Fine-tune by `config` and return `output_dir/<name>`, whose `final` is the last run.

    After each stage the network is evaluated on the test images of every corruption and of MNIST
    (with other data sets: on theirs and on those of the original run), and the table and the
    figure are updated. An interrupted fine-tuning can be resumed exactly: finished stages are
    kept, an unfinished one continues after its last whole epoch. Raises `InputError` before
    anything is written, `RunStopped` when a training ends early.
    """
    if runtime.count_ranks() > 1:
        raise InputError("finetune runs in one process; leave paddle.distributed.launch out")
    note = ""
    if config.resume is not None:
        folder = Path(config.resume)
        config = _resumed_config(folder, config)
        runtime.select_device(config.device, config.amp)
    else:
        runtime.select_device(config.device, config.amp)
        config, source = _settle(config)
        config, folder, note = _create(config, source)
    with locked(folder), log_to(folder / "finetune.log"):
        remove_leftovers(folder)
        if note:
            _log.info(note)
        _run_stages(config, folder)
    return folder


def _run_stages(config: FinetuneConfig, folder: Path) -> None:
    """Train and evaluate the stages that are missing."""
    tests = _load_tests(config, folder)
    matrix = read_matrix(folder / "matrix.csv", list(tests))
    if BEFORE not in matrix:
        _log.info("evaluating the initial weights")
        _evaluate(config, folder, matrix, BEFORE, folder / "start", tests)
    for stage in _stage_configs(config, folder):
        run_dir = Path(stage.output_dir) / str(stage.name)
        if _train(stage, run_dir, folder, tests) or run_dir.name not in matrix:
            best = Run(run_dir).find_checkpoint("best")
            _evaluate(config, folder, matrix, run_dir.name, best, tests)
    _point_final(folder, run_dir)


def _point_final(folder: Path, run_dir: Path) -> None:
    """Make `final` name the last run. In a copy without links it is a folder, which is replaced.

    Raises `InputError` if that has epochs which `run_dir` has not.
    """
    final = folder / "final"
    if final.is_dir() and not final.is_symlink():
        copied, original = Run(final).history_file, Run(run_dir).history_file
        if not copied.is_file() or not read_text(original).startswith(read_text(copied)):
            raise InputError(
                f"{final} is no copy of {run_dir}, perhaps trained further; rename it, then "
                + quote("--resume", folder)
            )
    swap_link(final, f"stages/{run_dir.name}")


def _train(stage: TrainConfig, run_dir: Path, folder: Path, tests: dict[str, ImageSet]) -> bool:
    """Train the rest of a stage; return whether anything was left."""
    if Run(run_dir).read_result() is not None:
        _log.info("%s is finished", run_dir)
        return False
    if run_dir.exists():
        stage = TrainConfig(resume=str(run_dir), device=stage.device, data_dir=stage.data_dir)
    hint = tool_line("finetune", "--resume", folder)
    train_and_evaluate(
        stage, hint, tests[stage.dataset].classes if stage.dataset in tests else None
    )
    return True


def _evaluate(
    config: FinetuneConfig,
    folder: Path,
    matrix: Matrix,
    row: str,
    checkpoint: Path,
    tests: dict[str, ImageSet],
) -> None:
    """Add a row to the matrix, and write table and figure."""
    classes = next(iter(tests.values())).classes
    network = build_model(str(config.model), len(classes), *config.form)
    set_weights(network, load_weights(checkpoint / WEIGHTS), str(checkpoint))
    side = input_size(str(config.model), config.form.size)
    results = evaluate_corruptions(network, tests, side, row)
    matrix[row] = {name: result["accuracy"] for name, result in results.items()}
    _log.info("%s: %s", row, ", ".join(f"{k} {v:.4f}" for k, v in matrix[row].items()))
    write_matrix(folder / "matrix.csv", matrix)
    write_text(folder / "matrix.md", format_matrix(matrix))
    save_figure(plot_forgetting(matrix), folder / "figures" / "forgetting.png")


def _load_tests(config: FinetuneConfig, folder: Path) -> dict[str, ImageSet]:
    """Return the test sets to evaluate after each stage, by name; mnist_c's are memory-mapped."""
    if config.dataset == "mnist_c":
        data_dir = str(config.data_dir)
        names = [name for name in list_corruptions(Path(data_dir)) if name != IDENTITY]
        tests = {name: load_dataset("mnist_c", "test", data_dir, corruption=name) for name in names}
        return {CLEAN: load_dataset("mnist", "test"), **tests}
    [stage] = _stage_configs(config, folder)
    run = Run(Path(stage.output_dir) / str(stage.name))
    order = run.saved_classes() if run.config_file.exists() else None
    [test_set] = load_data(stage, "test", classes=order or _source_classes(config), say=_quiet)
    tests = {config.dataset: test_set}
    start = Run(folder / "start")
    if start.config_file.exists():  # the run that the weights come from
        source = start.config
        old, new = (
            (c.dataset, c.data_dir and Path(c.data_dir).resolve()) for c in (source, config)
        )
        if old != new:
            name = source.dataset + (" before" if source.dataset == config.dataset else "")
            try:
                tests = {name: load_test_set(source, test_set.classes), **tests}
            except (InputError, OSError) as error:  # other classes, or removed
                _log.info("the original test images are left out: %s", error)
    return tests


def _quiet(oddity: str) -> None:
    """Leave what is odd about the data to the training, which says it too."""


def _source_classes(config: FinetuneConfig) -> tuple[str, ...] | None:
    """Return the classes of the run that the weights come from, None if they are not known."""
    return saved_classes(Path(str(config.init_from)))


def _stage_configs(config: FinetuneConfig, folder: Path) -> list[TrainConfig]:
    """Return the settings of each stage's run."""
    own = {"output_dir": str(folder / "stages")}
    source = str(folder / "start")
    if config.corruptions is None:
        name = f"01-{'all' if config.dataset == 'mnist_c' else config.dataset}"
        return [config.stage(**own, name=name, init_from=source)]
    stages: list[TrainConfig] = []
    names = config.corruptions.split(",")
    for number, corruption in enumerate(names):
        before = ",".join([CLEAN, *names[:number]]) if config.mode == "replay" else None
        stage = config.stage(
            **own,
            name=f"{number + 1:02d}-{corruption}",
            corruption=corruption,
            replay=before,
            init_from=source,
        )
        stages.append(stage)
        source = f"{stages[-1].output_dir}/{stages[-1].name}"
    return stages


def _settle(config: FinetuneConfig) -> tuple[FinetuneConfig, TrainConfig | None]:
    """Fill in what `config` leaves open; return it with the settings of the original run.

    These are None for a file of weights without a run. Raises `InputError`.
    """
    if (Path(str(config.init_from)) / SETTINGS).is_file():
        raise InputError(
            f"{config.init_from} is a fine-tuning; start from its last run, "
            + quote("--init-from", f"{config.init_from}/final")
        )
    weights = Path(str(resolve_source(config).init_from))
    run_dir, source = weights.parent.parent.parent, source_config(weights)
    model = config.model or (source.model if source else None)
    if model is None:
        raise InputError(f"{weights} belongs to no run; name its network with --model")
    corruptions = config.corruptions
    if config.mode != "joint" and corruptions is None:
        found = list_corruptions(Path(str(config.data_dir)))
        corruptions = ",".join(name for name in found if name != IDENTITY)
    if source:
        for key, own in zip(("channels", "image_size"), source.form, strict=True):
            if (given := getattr(config, key)) not in ("auto", own):
                raise InputError(
                    f"{key} is {given}; {run_dir} reads pictures as {source.form}, which "
                    "fine-tuning keeps: leave it out"
                )
        config = config.with_form(source.form)
    preprocess = source.picture_mode if source and config.preprocess == "auto" else None
    stem = weights.stem if source is None else run_dir.name
    return dataclasses.replace(
        config,
        init_from=str(weights),
        model=model,
        corruptions=corruptions,
        preprocess=preprocess or config.picture_mode,
        name=config.name or to_name(f"{stem}-{config.mode}"),
    ), source


def _create(config: FinetuneConfig, source: TrainConfig | None) -> tuple[FinetuneConfig, Path, str]:
    """Create `output_dir/<name>` with the settings and the initial weights.

    Returns the settings with the form of the pictures, the folder, and a line for the log.
    """
    folder = Path(config.output_dir) / str(config.name)
    for stage in _stage_configs(config, folder):  # fail before the first training
        only = dataclasses.replace(stage, replay=None)
        [train_set] = load_data(only, "train", classes=_source_classes(config), say=_quiet)
    config = config.with_form(train_set.form)
    choose_augmentation(config, config.form.channels)
    choose_outliers(config.outliers, train_set)
    network, note = _start_network(config, train_set.classes)
    with new_folder(folder.parent) as temporary:
        write_text(temporary / SETTINGS, dump_config(config))
        (temporary / "start").mkdir()
        paddle.save(network.state_dict(), str(temporary / "start" / WEIGHTS))
        if source is not None:
            write_text(temporary / "start" / "config.yaml", dump_config(source))
        if not rename_new(temporary, folder):
            raise InputError(
                f"{folder} exists; choose another --name, or {quote('--resume', folder)}"
            )
    return config, folder, f"{folder} from {config.init_from}: {note}"


def _start_network(config: FinetuneConfig, classes: tuple[str, ...]) -> tuple[paddle.nn.Layer, str]:
    """Return the network with the weights of `init_from`, and a line for the log.

    For another number of classes its last layer is freshly initialised.
    """
    path = Path(str(config.init_from))
    weights = load_weights(path)
    with paddle.utils.unique_name.guard():
        runtime.seed_everything(config.seed)
        network = build_model(str(config.model), len(classes), *config.form)
    own = network.state_dict()
    last = list(weighted_layers(network))[-1]
    of_last = [name for name in own if name.startswith(f"{last}.")]
    other = [n for n in of_last if n in weights and weights[n].shape != tuple(own[n].shape)]
    frozen = freeze_layers(network, config.freeze)
    if not other:
        set_weights(network, weights, str(path))
        return network, _compare_classes(path, classes)
    if frozen & set(of_last):
        raise InputError(f"freeze {config.freeze} would leave the new last layer {last} untrained")
    set_weights(network, {**weights, **{name: own[name].numpy() for name in of_last}}, str(path))
    return network, (
        f"the last layer, {last}, is new, drawn for {len(classes)} classes; all others keep their "
        "weights"
    )


def _compare_classes(path: Path, classes: tuple[str, ...]) -> str:
    """Return a line for the log on the last layer, where the number of classes is the same."""
    if (path.parent / "state.json").exists():
        before = read_state(path.parent).classes
        if tuple(before) != classes:
            return (
                f"all layers keep their weights, the last one too, though its classes were "
                f"{', '.join(before)} and are {', '.join(classes)}"
            )
    return "all layers keep their weights"


def _resumed_config(folder: Path, config: FinetuneConfig) -> FinetuneConfig:
    """Return the settings of the fine-tuning in `folder`, with `config`'s device and data_dir."""
    if not (folder / SETTINGS).is_file():
        raise InputError(
            f"{folder}: not a fine-tuning (it has no {SETTINGS}); expected "
            "what tools/finetune.py made"
        )
    settings: dict[str, Any] = load_yaml(folder / SETTINGS, FinetuneConfig)
    settings = {"channels": 1, "image_size": SIZE, **settings}  # as those before other forms
    changed = {"data_dir": config.data_dir, "device": config.device}
    if config.device == "auto":
        del changed["device"]
    settings |= {key: value for key, value in changed.items() if value is not None}
    try:
        return FinetuneConfig(
            **{**settings, "output_dir": str(folder.parent), "name": folder.name, "resume": None}
        )
    except InputError as error:
        raise InputError(f"{folder / SETTINGS}: {error}") from None
