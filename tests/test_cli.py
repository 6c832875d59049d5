"""Flags, one line for bad input, exit statuses, and a fast --help by group."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import re
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from refusal_help import refusal

from lenet_paddle.cli import MORE_MEMORY, parse_args, run_tool
from lenet_paddle.config import FinetuneConfig, TrainConfig
from lenet_paddle.data.augment import PRESETS
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.models import MODELS
from lenet_paddle.settings import USER_HOME, path_fields

ROOT = str(Path(__file__).resolve().parents[1])
TOOLS = sorted(Path(ROOT, "tools").glob("*.py"))
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)


@dataclass(frozen=True)
class _NoConfig:
    count: int = 1


def _parse(*argv: str) -> TrainConfig:
    return parse_args(TrainConfig, "a tool", argv)


def _refusal(*argv: str) -> str:
    message = refusal(lambda: _parse(*argv))
    assert not set(message) & set("╭╮╰╯│─\x1b")
    return message


def test_flags_carry_hyphens_and_fill_the_fields() -> None:
    config = _parse(
        *(
            "--learning-rate",
            "0.01",
            "--batch-size=32",
            "--val-size",
            "100",
            "--overwrite",
            "--name=a",
        ),
        *("--label-smoothing", "0.1", "--patience", "3", "--data-dir", "x", "--limit", "None"),
    )
    expected = TrainConfig(
        learning_rate=0.01,
        batch_size=32,
        val_size=100,
        overwrite=True,
        name="a",
        label_smoothing=0.1,
        patience=3,
        data_dir="x",
        limit=None,
    )
    assert config == expected


def test_no_flags_give_the_defaults() -> None:
    assert _parse() == TrainConfig()


def test_flags_override_the_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "model: mlp\nepochs: 9\nlearning_rate: 1e-3\noverwrite: true\nname: a\npatience: 4\n"
    )
    config = _parse("--epochs", "2", "--config", str(path), "--no-overwrite", "--patience", "None")
    expected = TrainConfig(
        model="mlp",
        epochs=2,
        learning_rate=0.001,
        overwrite=False,
        name="a",
        patience=None,
        config=str(path),
    )
    assert config == expected


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("dataset: folder\n", ["--data-dir", "pictures"]),
        ("patience: 3\nval_size: 0\n", ["--val-size", "10"]),
        ("with_optimizer: true\n", ["--init-from", "run"]),
    ],
)
def test_settings_are_judged_together_only_after_the_flags(
    tmp_path: Path, text: str, argv: list[str]
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    config = _parse(f"--config={path}", *argv)
    assert str(getattr(config, argv[0][2:].replace("-", "_"))) == argv[1]


def test_bad_values_in_the_yaml_file_are_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("epochs: 0\n")
    assert "epochs is 0; expected a whole number of 1 or more" in _refusal("--config", str(path))
    path.write_text("model: resnet\n")
    assert "model is 'resnet'; expected one of lenet5" in _refusal("--config", str(path))
    path.write_text("epoch: 1\n")
    assert "unknown key epoch; valid are" in _refusal("--config", str(path))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(USER_HOME, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_tilde_in_a_flag_is_the_home(home: Path) -> None:
    config = _parse("--data-dir=~/pictures", "--output-dir", "~", "--init-from=~/runs/{seed}")
    assert config.data_dir == f"{home}/pictures"
    assert config.output_dir == str(home)
    assert config.init_from == f"{home}/runs/{{seed}}"
    assert _parse("--resume=~/run").resume == f"{home}/run"


def test_a_tilde_in_yaml_and_before_the_yaml_file_is_the_home(home: Path) -> None:
    (home / "mine.yaml").write_text("data_dir: ~/pictures\nname: tilde\n")
    config = _parse("--config=~/mine.yaml", "--dataset", "folder")
    assert (config.data_dir, config.name) == (f"{home}/pictures", "tilde")
    assert TrainConfig(data_dir="~/pictures").data_dir == f"{home}/pictures"


def test_only_a_tilde_at_the_start_that_names_a_home_is_expanded(home: Path) -> None:
    for path in ("a/~/b", "a~", "~no-such-user/a", "./~"):
        assert TrainConfig(data_dir=path).data_dir == path
    assert TrainConfig(data_dir="~root/a").data_dir == str(Path("~root/a").expanduser())


def test_a_tilde_means_the_users_home_where_libraries_get_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER_HOME, "/read-only")
    assert TrainConfig(data_dir="~/pictures").data_dir == "/read-only/pictures"


def test_a_tilde_without_a_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER_HOME, "~")
    assert "~/mine: there is no home folder (HOME is not set" in _refusal("--data-dir=~/mine")
    assert "write the whole path" in _refusal("--config=~/mine.yaml")


@each_tool
def test_every_path_of_a_tool_is_marked_as_one(tool: Path) -> None:
    found = runpy.run_path(str(tool))
    classes = ("Args", "TrainConfig", "FinetuneConfig", "ServeConfig", "VisualizeConfig")
    classes += ("InspectConfig",)
    [cls] = [found[name] for name in classes if name in found]
    paths = {"run", "runs", "out", "data_dir", "output_dir", "init_from", "resume", "config"}
    paths |= {"baseline", "chart", "images", "logdir", "pictures"}
    paths |= {"model"} if tool.stem in ("predict", "serve") else set()
    paths |= {"compare"} if tool.stem == "export" else set()
    fields = {field.name for field in dataclasses.fields(cls)}
    assert set(path_fields(cls)) == fields & paths


def test_config_without_a_path_is_refused() -> None:
    assert "--config" in _refusal("--config")


def test_a_tool_without_a_config_field_refuses_the_flag() -> None:
    with pytest.raises(InputError, match=r"Unrecognized options: --config"):
        parse_args(_NoConfig, None, ["--config", "settings.yaml"])


def test_a_file_whose_name_begins_like_a_flag_is_named_with_the_way_to_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "-1.png: a file" not in _refusal("-1.png", "2.png")
    Path("-1.png").touch()
    assert _refusal("-1.png", "2.png") == (
        "-1.png: a file whose name begins like a flag; write ./*.png instead of *.png, "
        "or -- before the names"
    )
    assert "a file" not in _refusal("--", "-1.png")
    Path("--epochs=3").touch()
    assert _parse("--epochs=3").epochs == 3


@pytest.mark.parametrize(
    ("flag", "meant"),
    [("--learnin-rate", "--learning-rate"), ("--batchsize", "--batch-size"), ("--conf", "--conf")],
)
def test_a_mistyped_flag_is_named_and_the_right_one_proposed(flag: str, meant: str) -> None:
    message = _refusal(flag, "1")
    assert flag in message.split("Perhaps you meant:")[0]
    assert meant in message.split("Perhaps you meant:")[1]


def test_a_flag_like_no_other_points_to_the_help() -> None:
    message = _refusal("--zzz", "1")
    assert "--zzz" in message
    assert "--help" in message


@pytest.mark.parametrize("argv", [["--learning-rate", "-1"], ["--learning-rate=-1"]])
def test_a_negative_learning_rate_is_refused_with_the_range(argv: list[str]) -> None:
    assert "learning_rate is -1.0; expected a number above 0" in _refusal(*argv)


def test_an_unknown_model_lists_all_models() -> None:
    message = _refusal("--model", "resnet")
    assert "resnet" in message
    assert [name for name in MODELS if name not in message] == []


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--learning-rate", "fast"), ("--epochs", "1.5"), ("--limit", "all"), ("--epochs", "")],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_flag(flag: str, value: str) -> None:
    message = _refusal(flag, value)
    assert flag in message
    assert repr(value) in message


def test_a_flag_without_its_value_is_named() -> None:
    assert "--epochs" in _refusal("--epochs")


def _raise(error: BaseException) -> Callable[[], NoReturn]:
    def main() -> NoReturn:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("epochs is 0;\n  expected 1"), 2, "epochs is 0; expected 1"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.npz"),
            2,
            "a.npz: No such file or directory",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device"),
        (OSError("cannot identify"), 2, "cannot identify"),
        (RunStopped("stopped after epoch 3", 143), 143, "stopped after epoch 3"),
        (RunStopped("loss is nan", 3), 3, "loss is nan"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (MemoryError(), 2, f"out of memory; {MORE_MEMORY}"),
        (
            MemoryError(
                "(ResourceExhausted) Fail to alloc memory of 9 size.\n  [Hint: (at a.cc:4)"
            ),
            2,
            f"out of memory ((ResourceExhausted) Fail to alloc memory of 9 size.); {MORE_MEMORY}",
        ),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, BaseException) else None,
)
def test_an_expected_end_is_one_line_with_its_exit_status(
    error: BaseException,
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/some_tool.py"])
    with pytest.raises(SystemExit) as stop:
        run_tool(_raise(error))
    assert stop.value.code == status
    assert capsys.readouterr() == ("", f"some_tool.py: error: {line}\n")


def test_names_of_files_cannot_break_lines_or_control_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> NoReturn:
        logging.getLogger("lenet_paddle.x").warning("%s: damaged", "a\nb\x1b[2Jé")
        raise InputError("c\x1b[2J.png: damaged")

    monkeypatch.setattr(sys, "argv", ["t.py"])
    monkeypatch.setattr(logging.root, "handlers", [])
    with pytest.raises(SystemExit):
        run_tool(main)
    assert capfd.readouterr().err == (
        "a\\nb\\x1b[2Jé: damaged\nt.py: error: c\\x1b[2J.png: damaged\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_json_is_valid_on_a_terminal_of_any_encoding(encoding: str) -> None:
    text = "café 日本 😀 \udcff"
    code = (
        "import json\nfrom lenet_paddle.cli import run_tool\n"
        f"run_tool(lambda: print(json.dumps({text!a}, ensure_ascii=False)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHONIOENCODING": encoding},
    )
    assert json.loads(done.stdout.decode(encoding)) == text, done.stderr


def test_a_deleted_current_folder_is_named(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\nfrom lenet_paddle.cli import run_tool\n"
        "os.rmdir(os.getcwd())\nrun_tool(lambda: print(pathlib.Path('a').absolute()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 2
    assert done.stderr.endswith(": error: the current folder was deleted; change to another one\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_a_tool_ends_with_the_status_that_its_main_returns(
    returned: int | None, status: int
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_tool(lambda: returned)
    assert stop.value.code == status


def test_a_programming_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_tool(_raise(ZeroDivisionError()))


def _run(*command: str | Path, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from lenet_paddle.cli import run_tool; run_tool(lambda: print('text'))"
    done = _run("-c", code, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_a_tool_without_standard_streams_works_and_its_files_stay_clean(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    code = (
        "import os, sys\n"
        "from lenet_paddle.cli import run_tool\n"
        "from lenet_paddle.progress import Progress\n"
        "def main():\n"
        "    with open('file', 'w') as file:\n"
        "        Progress(1, 'images').show(1)\n"
        "        print('text')\n"
        "        for number in (1, 2):\n"
        "            os.write(number, b'printed by C++')\n"
        "    return 5\n"
        "run_tool(main)\n"
    )
    shell = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, code]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 5
    assert (tmp_path / "file").read_text() == ""
    assert "Traceback" not in done.stderr


def test_there_are_tools() -> None:
    assert "train" in [tool.stem for tool in TOOLS]


@pytest.mark.parametrize(
    ("tool", "cls", "titles"),
    [
        ("train", TrainConfig, ["network", "data", "augment", "optimization", "output", "run"]),
        (
            "finetune",
            FinetuneConfig,
            ["dataset", "augment", "optimization", "output", "stages"],
        ),
    ],
)
def test_help_lists_every_flag_once_under_the_title_of_its_group(
    tool: str, cls: type, titles: list[str]
) -> None:
    text = _run(TOOLS[0].parent / f"{tool}.py", "--help").stdout
    assert re.findall(r"╭─ (\w+) options", text) == titles
    flags = re.findall(r"^│ --([a-z0-9-]+)", text, re.MULTILINE)
    assert flags == [field.name.replace("_", "-") for field in dataclasses.fields(cls)]


def test_help_gives_the_ranges_of_the_presets() -> None:
    text = " ".join(_run(TOOLS[0].parent / "train.py", "--help").stdout.replace("│", " ").split())
    for preset in ("light", "strong"):
        for name, value in PRESETS[preset].items():
            about = text.split(f"--{name.replace('_', '-')} ")[1].split(" --")[0]
            assert f"{preset} {value}" in about


def test_a_fine_tuning_takes_its_defaults_and_old_yaml_flat(tmp_path: Path) -> None:
    path = tmp_path / "finetune.yaml"
    path.write_text("mode: sequential\ncorruptions: fog,stripe\nlearning_rate: 0.0005\nepochs: 3\n")
    flags = ["--config", str(path), "--init-from", "run", "--data-dir", "d", "--epochs", "1"]
    config = parse_args(FinetuneConfig, "a tool", flags)
    assert config == FinetuneConfig(
        init_from="run",
        data_dir="d",
        mode="sequential",
        corruptions="fog,stripe",
        learning_rate=0.0005,
        epochs=1,
        config=str(path),
    )
    assert (config.dataset, config.batch_size, config.monitor) == ("mnist_c", 128, "val_loss")
    stage = config.stage(model="mlp", name="01-fog", corruption="fog")
    assert isinstance(stage, TrainConfig)
    assert (stage.learning_rate, stage.batch_size, stage.corruption) == (0.0005, 128, "fog")
    assert stage.config is None


@each_tool
def test_help_takes_less_than_half_a_second_of_the_processor(
    tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage would cost most of it
    best = float("inf")
    for _ in range(10):  # a busy machine makes each instruction slower, never faster
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = _run(tool, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, spent)  # elapsed time would depend on what else runs
        assert (done.returncode, done.stderr) == (0, "")
        assert "--help" in done.stdout
        if best < 0.5:
            break
    assert best < 0.5


@each_tool
def test_help_does_not_import_paddle(tool: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(tool)!r}, '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'lenet_paddle' in sys.modules\n"
        "print('paddle' in sys.modules)\n"
    )
    assert _run("-c", code).stdout.splitlines()[-1:] == ["False"]


@each_tool
def test_a_tool_refuses_an_unknown_flag_in_one_line(tool: Path) -> None:
    done = _run(tool, "--no-such-flag")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{tool.name}: error: ")
    assert "--no-such-flag" in done.stderr
    assert done.stderr.count("\n") == 1
