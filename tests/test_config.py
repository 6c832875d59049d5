"""Settings: bad values are refused with the reason, and YAML is read strictly."""

from __future__ import annotations

import dataclasses
import math
import re
import time
import typing
from pathlib import Path

import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.errors import InputError
from lenet_paddle.settings import check_types, load_yaml

NAN, INF = math.nan, math.inf
CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# field -> (values out of range, what the message must say was expected)
OUT_OF_RANGE = {
    "val_size": ([-1], "0 or more"),
    "test_size": ([0, -1], "1 or more"),
    "limit": ([0, -1], "1 or more"),
    "scale": ([0, -1, NAN, INF], "above 0"),
    "epochs": ([0, -1], "1 or more"),
    "batch_size": ([0, -1], "1 or more"),
    "rotation": ([-1, 181, NAN], "from 0 to 180"),
    "shift": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "zoom": ([-0.1, 1, NAN], "from 0 to below 1"),
    "shear": ([-1, 61, NAN], "from 0 to 60"),
    "elastic": ([-1, 11, NAN], "from 0 to 10"),
    "elastic_sigma": ([0.9, 21, NAN], "from 1 to 20"),
    "horizontal_flip": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "vertical_flip": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "erase": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "bars": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "brightness": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "chance": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "thin": ([-0.1, 4.1, NAN], "from 0 to 4"),
    "thick": ([-0.1, 8.1, NAN], "from 0 to 8"),
    "outline": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "breaks": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "downscale": ([-0.1, 1, NAN], "from 0 to below 1"),
    "specks": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "contrast": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "noise": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "blur": ([-0.1, 11, NAN], "from 0 to 10"),
    "hue": ([-0.1, 0.6, NAN], "from 0 to 0.5"),
    "saturation": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "grayscale": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "muon_adam_rate": ([0, -1, NAN, INF], "above 0"),
    "l2": ([-1e-9, NAN, INF], "0 or more"),
    "ema": ([-0.1, 1, NAN], "from 0 to below 1"),
    "warmup_epochs": ([-1, NAN, INF], "0 or more"),
    "seeds": (["", "a", "0,", "0 1", "1,1", "-1", "4294967296", "1.5", "²"], "as 0,1,2"),
    "learning_rate": ([0, 0.0, -1, -1e-9, NAN, INF, -INF], "above 0"),
    "momentum": ([-0.1, 1, 1.0, NAN, INF], "from 0 to below 1"),
    "weight_decay": ([-1e-9, NAN, INF], "0 or more"),
    "decay_epochs": ([0, -1], "1 or more"),
    "decay_factor": ([0, 1, -0.5, 1.5, NAN], "between 0 and 1"),
    "label_smoothing": ([-0.1, 1, 1.0, NAN], "from 0 to below 1"),
    "outliers": ([-0.1, 1, 1.0, NAN], "from 0 to below 1"),
    "accumulate": ([0, -1], "1 or more"),
    "patience": ([0, -1], "1 or more"),
    "keep_last": ([0, -1], "1 or more"),
    "keep_every": ([-1], "0 or more"),
    "log_every": ([0, -1], "1 or more"),
    "seed": ([-1, 2**32], "from 0 to 4294967295"),
    "corruption": (["", "frost", "Fog", "fog,spatter"], "one of shot_noise, impulse_noise"),
    "replay": (["", "frost", "fog,", "fog,fog"], "each once, of clean, shot_noise"),
    "replay_share": ([-0.1, 1.1, NAN], "from 0 to 1"),
    "freeze": (["", " ", "a,,b"], "a number of layers, or names and patterns"),
    "name": (["", "a.b", "a/b", "..", "a b", "数字", "-"], "letters, digits, - and _"),
}
WRONG_TYPE = {
    "model": (["resnet", 3, None], "one of lenet5, lenet_sequential, lenet_subclass"),
    "dataset": (["cifar"], "one of mnist, fashion_mnist"),
    "preprocess": (["crop"], "one of auto, digit, resize"),
    "optimizer": (["rmsprop"], "one of sgd, momentum, adam, adamw, muon"),
    "augment": (["heavy", None], "one of none, light, strong"),
    "fill": (["white"], "one of background, nearest or null"),
    "rotation": (["10", True], "a number or null"),
    "seeds": ([[0, 1], 3], "text or null"),
    "schedule": (["linear"], "one of constant, step, cosine, one_cycle, plateau"),
    "amp": (["O3", 1], "one of O0, O1, O2"),
    "monitor": (["accuracy"], "one of val_accuracy, val_loss"),
    "device": (["tpu"], "one of auto, cpu, gpu"),
    "epochs": ([1.5, "3", True, None, [1]], "a whole number"),
    "learning_rate": (["fast", True, None, [0.1]], "a number"),
    "limit": (["10", 1.0, False], "a whole number or null"),
    "overwrite": (["yes", 1, None], "true or false"),
    "data_dir": ([3, ["a"]], "text or null"),
    "output_dir": ([None], "text"),
}


def _cases(table: dict[str, tuple[list[typing.Any], str]]) -> list[typing.Any]:
    return [
        pytest.param(field, value, expected, id=f"{field}={value!r}")
        for field, (values, expected) in table.items()
        for value in values
    ]


@pytest.mark.parametrize(("field", "value", "expected"), _cases(OUT_OF_RANGE) + _cases(WRONG_TYPE))
def test_a_bad_value_is_refused_with_its_field_and_what_was_expected(
    field: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(**{field: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{field} is {value!r}; expected ")
    assert expected in str(caught.value)


def test_every_number_has_a_range_and_every_range_is_tried() -> None:
    hints = typing.get_type_hints(TrainConfig)
    kinds = (int, float, int | None, float | None)
    numbers = {name for name, hint in hints.items() if hint in kinds}
    assert numbers | {"name", "seeds", "corruption", "replay", "freeze"} == set(OUT_OF_RANGE)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"val_size": 0, "keep_every": 0, "weight_decay": 0, "label_smoothing": 0.0, "momentum": 0},
        {"seed": 2**32 - 1, "epochs": 1, "batch_size": 1, "keep_last": 1, "learning_rate": 1},
        {"rotation": 180, "shift": 1, "zoom": 0, "elastic_sigma": 1, "erase": 1.0, "blur": 0},
        {"l2": 0.1, "weight_decay": 0.1, "optimizer": "adamw", "ema": 0, "warmup_epochs": 4.9},
        {"seeds": "0, 4294967295 ,7"},
        {"dataset": "mnist_c", "data_dir": "d", "corruption": "identity"},
        {"name": "a-B_3", "limit": 1, "patience": 1, "test_size": 1, "decay_factor": 0.999},
        {"dataset": "folder", "data_dir": "pictures", "with_optimizer": True, "init_from": "run"},
        {"dataset": "folder", "data_dir": "pictures", "skip_unreadable": True},
        {"dataset": "npz", "data_dir": "a.npz", "scale": 15.9375},
    ],
)
def test_values_at_the_edge_of_their_range_are_taken(settings: dict[str, typing.Any]) -> None:
    config = TrainConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_size": 0, "patience": 3}, ["val_size 0", "patience"]),
        ({"val_size": 0, "schedule": "plateau"}, ["val_size 0", "plateau"]),
        ({"dataset": "folder"}, ["dataset folder", "data_dir"]),
        ({"dataset": "npz"}, ["dataset npz", "data_dir", ".npz"]),
        ({"scale": 255}, ["scale 255", "dataset npz"]),
        ({"skip_unreadable": True}, ["skip_unreadable", "dataset folder"]),
        ({"dataset": "mnist_c"}, ["dataset mnist_c", "data_dir", "tools/corrupt.py"]),
        ({"corruption": "fog"}, ["corruption fog", "dataset mnist_c"]),
        ({"with_optimizer": True}, ["with_optimizer", "init_from"]),
        ({"warmup_epochs": 5.0}, ["warmup_epochs 5", "5 epochs"]),
        ({"l2": 0.1, "weight_decay": 0.1}, ["l2", "weight_decay", "adam"]),
        ({"optimizer": "muon", "amp": "O1"}, ["amp", "muon"]),
        ({"seeds": "0,1", "overwrite": True, "name": "a"}, ["seeds", "overwrite"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(
    settings: dict[str, typing.Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(**settings)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("dataset", "preprocess", "mode"),
    [
        ("mnist", "auto", "digit"),
        ("mnist_c", "auto", "digit"),
        ("fashion_mnist", "auto", "resize"),
        ("folder", "auto", "resize"),
        ("npz", "auto", "resize"),
        ("mnist", "resize", "resize"),
        ("folder", "digit", "digit"),
    ],
)
def test_picture_mode_auto_is_digit_for_mnists_digits_only(
    dataset: str, preprocess: str, mode: str
) -> None:
    config = TrainConfig(dataset=dataset, preprocess=preprocess, data_dir="x")  # type: ignore[arg-type]
    assert config.picture_mode == mode


def test_to_dict_leaves_out_what_belongs_to_one_invocation_and_makes_the_same_run() -> None:
    config = TrainConfig(
        model="mlp", learning_rate=0.5, output_dir="o", name="n", overwrite=True, config="c.yaml"
    )
    kept = config.to_dict()
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields - set(kept) == {*("config", "output_dir", "name", "overwrite", "resume", "seeds")}
    assert TrainConfig(**kept) == dataclasses.replace(
        config, output_dir="output", name=None, overwrite=False, config=None
    )


@dataclasses.dataclass(frozen=True)
class _Args:
    count: int = 1
    ratio: float | None = None


def test_check_types_serves_any_dataclass() -> None:
    check_types(_Args(3, 1))
    with pytest.raises(InputError, match="ratio is 'x'; expected a number or null"):
        check_types(_Args(3, "x"))  # type: ignore[arg-type]


def _yaml(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "0.001", "1.0e-3"])
def test_yaml_reads_a_number_however_it_is_written(tmp_path: Path, written: str) -> None:
    settings = load_yaml(_yaml(tmp_path, f"learning_rate: {written}\nepochs: 2\n"), TrainConfig)
    assert settings == {"learning_rate": 0.001, "epochs": 2}
    assert TrainConfig(**settings).learning_rate == 0.001
    assert load_yaml(_yaml(tmp_path, f"shift: {written}\n"), TrainConfig) == {"shift": 0.001}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_yaml_is_read_as_editors_of_windows_save_it(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    text = f"{mark}# 训练设置\r\nepochs: 2\r\ndata_dir: 图片\r\n"
    path = _yaml(tmp_path, text.encode(encoding))
    assert load_yaml(path, TrainConfig) == {"epochs": 2, "data_dir": "图片"}


def test_yaml_in_another_encoding_is_refused_with_the_right_one(tmp_path: Path) -> None:
    path = _yaml(tmp_path, "# 训练设置\nepochs: 2\n".encode("gbk"))
    with pytest.raises(InputError, match="not YAML in UTF-8; save it with that encoding"):
        load_yaml(path, TrainConfig)


@pytest.mark.parametrize("written", ["010", "007", "+017", "0_7", "1:30", "-1:30", "1:30.5"])
@pytest.mark.parametrize("key", ["name", "epochs", "learning_rate"])
def test_a_number_that_yaml_reads_otherwise_than_it_seems_is_refused(
    tmp_path: Path, key: str, written: str
) -> None:
    path = _yaml(tmp_path, f"{key}: {written}\n")
    with pytest.raises(InputError, match=re.escape(f"({written} is base 8 or 60; write a decimal")):
        load_yaml(path, TrainConfig)
    assert load_yaml(_yaml(tmp_path, f"name: '{written}'\n"), TrainConfig) == {"name": written}


@pytest.mark.parametrize("written", ["0", "0.5", "00.5", "-0", "0e1", "1_000", "0x1f", "08", "1e3"])
def test_a_number_that_yaml_reads_as_it_seems_is_taken(tmp_path: Path, written: str) -> None:
    assert load_yaml(_yaml(tmp_path, f"learning_rate: {written}\n"), TrainConfig)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_whole_and_its_header_shows_its_command(path: Path) -> None:
    config = TrainConfig(**load_yaml(path, TrainConfig))
    assert {config.config, config.name, config.seeds} == {None}
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = f"#   python tools/train.py --config configs/{path.name} --seeds 0,1,2"
    assert any(line.startswith(command) for line in header)


@pytest.mark.parametrize("text", ["", "# nothing set\n", "---\n", "null\n"])
def test_a_yaml_file_without_settings_leaves_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_yaml(_yaml(tmp_path, text), TrainConfig) == {}


def test_an_unknown_yaml_key_lists_the_valid_ones(tmp_path: Path) -> None:
    path = _yaml(tmp_path, "learning-rate: 0.1\nepochs: 1\n7: 8\n")
    with pytest.raises(InputError) as caught:
        load_yaml(path, TrainConfig)
    message = str(caught.value)
    assert message.startswith(f"{path}: unknown key learning-rate, 7; valid are ")
    valid = [field.name for field in dataclasses.fields(TrainConfig)]
    assert message.split("valid are ")[1].split(", ") == valid


@pytest.mark.parametrize(
    "text",
    [
        "epochs: [1",
        "epochs: 1\n\tmodel: mlp",
        "{" * 1500,
        b"\xff\xfe\x00bin\x80",
        "name: 2020-13-45",  # looks like a date and is none
        "learning_rate: !!float fast",
        "epochs: !!timestamp soon",
        "epochs: !!bool x",
        'seed: !!int ""',
        'seed: !!float ""',
        "a: !!map [b]",
        "a: !!set [b]",
        "a: !!python/object:os.system {}",
        "? [a]\n: 1",
        "epochs: " + "9" * 5000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_invalid_yaml_is_refused_in_one_message_with_the_path(
    tmp_path: Path, text: str | bytes
) -> None:
    path = _yaml(tmp_path, text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: not YAML"):
        load_yaml(path, TrainConfig)


def _laughs(line: str) -> str:
    """Return a YAML bomb: a few hundred bytes that expand to 9**20 values."""
    lines = [f"a{i}: &a{i} " + line.replace("*", f"*a{i - 1}") for i in range(1, 21)]
    return "\n".join(["a0: &a0 {x: 1}", *lines, "name: *a20"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_laughs("[*, *, *, *, *, *, *, *, *]"), "it has an alias"),
        (_laughs("{<<: [*, *, *, *, *, *, *, *, *]}"), "it has an alias"),  # merged, it hung
        ("epochs: &a {x: *a}", "it has an alias"),
        ("epochs: 1\nseed: 2\nepochs: 3\n", "it has the key epochs twice"),
        ("".join(f"k{i}: 1\n" for i in range(60_000)) + "k59999: 1", "it has the key k59999 twice"),
        ("epochs: 0x" + "f" * 500_000, "a number of 500002 characters"),
        ("epochs: " + ":".join(["59"] * 9000), "a number of 26999 characters"),
        ("learning_rate: " + ":".join(["59"] * 9000) + ".5", "a number of 27001 characters"),
        ("name: " + "x" * 1_000_000, "over 1,000,000 bytes"),
        ("[" * 100_000, "recursion"),
        ("a: !!python/object/apply:os.system [touch canary]", "constructor for the tag"),
        ("a: !!python/name:os.system", "constructor for the tag"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_yaml_that_would_hide_grow_or_run_something_is_refused_at_once(
    tmp_path: Path, text: str, said: str
) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=f"not YAML .*{said}"):
        load_yaml(_yaml(tmp_path, text), TrainConfig)
    assert time.process_time() - started < 20  # a deep one takes a second


@pytest.mark.parametrize(
    ("text", "kind"),
    [("- epochs", "list"), ("epochs", "str"), ("3", "int"), ("[]", "list"), ("false", "bool")],
)
def test_yaml_other_than_a_mapping_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    path = _yaml(tmp_path, text)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: holds a {kind}; expected `key"):
        load_yaml(path, TrainConfig)


def test_a_yaml_file_that_cannot_be_read_is_refused_by_path(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*expected a YAML file"):
            load_yaml(path, TrainConfig)


def test_text_for_a_number_in_yaml_is_refused_with_path_and_key(tmp_path: Path) -> None:
    path = _yaml(tmp_path, "learning_rate: fast")
    with pytest.raises(InputError, match=r"settings.yaml: learning_rate is 'fast'; expected a num"):
        load_yaml(path, TrainConfig)
