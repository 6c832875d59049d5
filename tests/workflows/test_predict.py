"""tools/evaluate.py, predict.py and export.py as a user calls them."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tools_help import QUICK, ROOT, assert_refused, tool

from lenet_paddle import load_dataset
from lenet_paddle.data.form import Form
from lenet_paddle.data.preprocess import load_picture
from lenet_paddle.errors import InputError
from lenet_paddle.export.predictor import Answer, Predictor
from lenet_paddle.figures.words import language
from lenet_paddle.workflows import predict as answers
from lenet_paddle.workflows.predict import find_pictures


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    done = tool("train", *QUICK, "--limit", "3000", "--output-dir", output, "--name", "a")
    assert done.returncode == 0, done.stderr
    return output / "a"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Test digits as 28x28 PNGs, so that the network sees just the test set's pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    test_set = load_dataset("mnist", "test").take(slice(0, 12))
    for i, image in enumerate(test_set.images):
        Image.fromarray(image).save(folder / f"digit-{i:02d}.png")
    return folder


def test_evaluate_repeats_the_runs_own_metrics(run_dir):
    before = (run_dir / "metrics.json").read_text()
    done = tool("evaluate", "--run", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(before)
    assert (run_dir / "metrics.json").read_text() == before


def test_evaluate_prints_a_line_a_class(run_dir):
    done = tool("evaluate", "--run", run_dir, "--checkpoint", "epoch_0001")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert f"accuracy {metrics['accuracy']:.4f}" in done.stdout
    for digit, row in metrics["per_class"].items():
        expected = rf"{digit} +{row['precision']:.4f} +{row['recall']:.4f} +{row['f1']:.4f} +"
        assert re.search(f"^{expected}{row['support']}$", done.stdout, re.MULTILINE)


def test_another_set_has_metrics_and_figures_of_its_own(run_dir, tmp_path):
    test_set = load_dataset("mnist", "test").take(slice(0, 100))
    arrays = {"x_train": test_set.images, "y_train": test_set.labels}
    arrays |= {"x_test": 255 - test_set.images, "y_test": test_set.labels}
    np.savez(tmp_path / "negatives.npz", **arrays)
    own = (run_dir / "metrics.json").read_bytes()
    done = tool(
        *("evaluate", "--run", run_dir, "--dataset", "npz"),
        *("--data-dir", tmp_path / "negatives.npz"),
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run_dir / "metrics-npz.json").read_text())
    assert metrics["num_images"] == 100 and metrics["accuracy"] < 0.5
    assert (run_dir / "figures" / "confusion-npz.png").is_file()
    assert (run_dir / "figures" / "mistakes-npz.png").is_file()
    assert (run_dir / "metrics.json").read_bytes() == own


@pytest.mark.slow
def test_bad_runs_are_one_line(run_dir, tmp_path):
    (tmp_path / "classes.npz").touch()
    for name, arguments, words in (
        ("evaluate", ["--run", "nowhere"], ["nowhere: not a run"]),
        ("evaluate", ["--run", run_dir, "--checkpoint", "epoch_0099"], ["best, epoch_0001"]),
        ("evaluate", ["--run", run_dir, "--checkpoint", "../../a"], ["no checkpoint"]),
        ("evaluate", ["--run", run_dir, "--dataset", "npz"], ["needs data_dir"]),
        (
            "evaluate",
            ["--run", run_dir, "--dataset", "npz", "--data-dir", "x", "--scale", "0"],
            ["scale is 0"],
        ),
        ("evaluate", [], ["--run"]),
        ("export", ["--run", "nowhere"], ["nowhere: not a run"]),
        ("predict", ["x.png"], ["--run output/RUN or --model"]),
        ("predict", ["--model", run_dir], ["no exported model", "inference.yml"]),
        ("predict", ["--run", run_dir, "--top-k", "0"], ["top_k is 0"]),
        ("predict", ["--run", run_dir, ""], ["the name of a picture is empty"]),
        ("predict", ["--run", run_dir, "--engine", "onnx"], ["engine onnx", "--model"]),
        ("predict", ["--model", run_dir, "--checkpoint", "latest"], ["latest is a run's"]),
        ("predict", ["--run", run_dir, tmp_path / "empty"], ["a folder without pictures"]),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert_refused(tool(name, *arguments), *words)


def test_a_set_of_other_classes_is_refused(run_dir, tmp_path):
    images, labels = np.zeros((12, 28, 28), np.uint8), np.arange(12)
    np.savez(tmp_path / "twelve.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    done = tool(
        "evaluate", "--run", run_dir, "--dataset", "npz", "--data-dir", tmp_path / "twelve.npz"
    )
    assert_refused(done, "classes 0, 1, 2", "11;", "was trained on 0, 1, 2")


def test_a_run_and_its_export_give_the_test_sets_answers(run_dir, pictures):
    by_run = tool("predict", "--run", run_dir, pictures, "--format", "json")
    by_export = tool("predict", "--model", run_dir / "inference", pictures, "--format", "json")
    assert by_run.returncode == by_export.returncode == 0
    answers, exported = json.loads(by_run.stdout), json.loads(by_export.stdout)
    predictor = Predictor.from_run(run_dir)
    probs = predictor.predict(load_dataset("mnist", "test").images[:12])
    for i, (answer, same) in enumerate(zip(answers, exported, strict=True)):
        assert answer["file"] == str(pictures / f"digit-{i:02d}.png")
        assert answer["class"] == same["class"] == str(probs[i].argmax())
        assert answer["probability"] == pytest.approx(probs[i].max(), abs=1e-6)
        assert same["probability"] == pytest.approx(probs[i].max(), abs=1e-5)
        ranked = [int(entry["class"]) for entry in answer["top_k"]]
        assert ranked == np.argsort(-probs[i], kind="stable")[:3].tolist()


def test_csv_and_table_tell_the_same(run_dir, pictures):
    picture = pictures / "digit-00.png"
    done = tool("predict", "--run", run_dir, picture, "--format", "csv", "--top-k", "2")
    [row] = csv.DictReader(io.StringIO(done.stdout))
    table = tool("predict", "--run", run_dir, picture, "--top-k", "2").stdout
    assert row["file"] == str(picture)
    assert table.split()[:3] == [str(picture), row["class"], f"{float(row['probability']):.4f}"]


def test_a_picture_in_which_nothing_is_written_has_no_class_in_any_output(
    run_dir, pictures, tmp_path
):
    for name, value in (("black", 0), ("white", 255)):
        for side in (28, 400):
            picture = Image.new("L", (side, side), value)
            picture.save(tmp_path / f"{name}-{side}.png")
    files = [str(tmp_path), str(pictures / "digit-00.png")]
    for by in ((str(run_dir), None), (None, str(run_dir / "inference"))):
        texts = {}
        for style in ("json", "table", "csv"):
            texts[style], failed = answers.predict_pictures(files, *by, style=style)
            assert failed == 0
        *empty, digit = json.loads(texts["json"])
        assert len(empty) == 4 and digit["class"] is not None
        for answer in empty:
            assert (answer["class"], answer["probability"], answer["top_k"]) == (None, None, [])
        assert texts["table"].count("  nothing written\n") == 4
        rows = list(csv.DictReader(io.StringIO(texts["csv"])))
        assert [row["class"] + row["probability"] + row["top_k"] for row in rows[:4]] == [""] * 4
        assert rows[4]["class"] == digit["class"]


def test_a_heic_picture_is_answered_like_the_same_png(run_dir, tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    digit = Image.fromarray(255 - load_dataset("mnist", "test").images[0]).resize((280, 280))
    digit.save(tmp_path / "a.png")
    digit.save(tmp_path / "b.HEIC")
    done = tool("predict", "--run", run_dir, tmp_path, "--format", "json")
    png, heic = json.loads(done.stdout)
    assert png["class"] == heic["class"] == "7"


def test_unreadable_files_are_reported_the_rest_answered_and_the_status_is_1(
    run_dir, pictures, tmp_path
):
    good = pictures / "digit-00.png"
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "text.png").write_text("no picture")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    done = tool(
        "predict", "--run", run_dir, tmp_path, tmp_path / "gone.png", good, "--format", "json"
    )
    assert done.returncode == 1
    assert [a["file"] for a in json.loads(done.stdout)] == [str(good)]
    errors = sorted(done.stderr.strip().splitlines())
    assert len(errors) == 4 and "Traceback" not in done.stderr
    for line, word in zip(
        errors,
        ("damaged", "No such file", "at most 50 million", "not a readable picture"),
        strict=True,
    ):
        assert word in line


def test_without_pictures_four_test_images_are_answered_and_drawn(run_dir):
    done = tool("predict", "--run", run_dir)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["5", "20", "48", "210"]
    with Image.open(run_dir / "figures" / "predictions.png") as figure:
        assert min(figure.size) > 100


def test_rotate_auto_turns_a_picture_that_is_surer_turned_and_says_so(run_dir, tmp_path):
    test_set = load_dataset("mnist", "test")
    sevens = test_set.images[test_set.labels == 7][:4]
    for number, digit in enumerate(sevens):
        large = Image.fromarray(255 - digit).resize((280, 280))
        large.rotate(90 * number, expand=True).save(tmp_path / f"{number}.png")

    def predict(style, **options):
        return answers.predict_pictures([str(tmp_path)], str(run_dir), None, style=style, **options)

    assert all("rotated" not in answer for answer in json.loads(predict("json")[0]))
    given = ["predict", "--run", run_dir, tmp_path, "--format", "json", "--rotate", "auto"]
    turned = json.loads(tool(*given).stdout)
    predictor = Predictor.from_run(run_dir)
    for answer in turned:
        expected = predictor.answer_turned("", load_picture(Path(answer["file"]))).to_dict()
        assert (answer["class"], answer["rotated"]) == (expected["class"], expected["rotated"])
    assert any(answer["rotated"] for answer in turned)
    table = predict("table", rotate="auto")[0].splitlines()
    rows = list(csv.DictReader(io.StringIO(predict("csv", rotate="auto")[0])))
    for line, row, answer in zip(table, rows, turned, strict=True):
        assert row["rotated"] == str(answer["rotated"])
        said = f"turned by {answer['rotated']}"
        assert line.endswith(said) == (answer["rotated"] != 0)


def test_a_picture_is_turned_only_if_it_is_clearly_surer():
    class Fake(Predictor):
        def __init__(self, *probabilities):
            self.next = iter(probabilities)

        def answer(self, name, picture, top_k=3):
            p = next(self.next)
            return Answer(name, picture, picture, [("6", p)] if p else [])

    picture = np.zeros((28, 28), np.uint8)
    for probabilities, rotated in (
        ((0.9, 0.2, 0.95, 0.2), 0),
        ((0.9, 0.2, 0.97, 0.2), 180),
        ((0.3, 0.9, 0.2, 0.8), 90),
        ((1.0, 1.0, 1.0, 1.0), 0),
        ((0, 0, 0, 0), 0),
    ):
        assert Fake(*probabilities).answer_turned("a", picture).rotated == rotated


def test_figure_draws_the_answers_of_an_exported_model(run_dir, pictures, tmp_path):
    arguments = ["--model", run_dir / "inference", "--figure", pictures / "digit-00.png"]
    assert tool("predict", *arguments, cwd=tmp_path).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.png"]


def test_an_export_whose_files_are_damaged_is_one_line(run_dir, pictures, tmp_path):
    for name in ("inference.json", "inference.pdiparams"):
        broken = tmp_path / name
        shutil.copytree(run_dir / "inference", broken)
        data = (broken / name).read_bytes()
        (broken / name).write_bytes(data[: len(data) // 2])
        done = tool("predict", "--model", broken, pictures / "digit-00.png")
        assert_refused(done, "a damaged exported model; export it again")


def test_an_export_that_names_other_classes_than_it_has_is_one_error(run_dir, tmp_path):
    shutil.copytree(run_dir / "inference", tmp_path / "inference")
    path = tmp_path / "inference" / "inference.yml"
    path.write_text(path.read_text().replace("- '9'\n", ""))
    with pytest.raises(InputError, match="names 9 classes, the model has 10"):
        Predictor(tmp_path / "inference")


@pytest.mark.slow
def test_export_refuses_a_test_set_of_other_classes(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("猫", "$b^$", "c"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(12):
            image = rng.integers(0, 256, (28, 28)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "pictures" / name / f"$a_$ {number}.png")
    arguments = ["--dataset", "folder", "--data-dir", tmp_path / "pictures", "--epochs", "1"]
    done = tool("train", *arguments, "--output-dir", tmp_path, "--name", "a")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    answered = tool("predict", "--run", tmp_path / "a", "--figure", tmp_path / "pictures" / "猫")
    assert answered.returncode == 0, answered.stderr
    (tmp_path / "pictures" / "c").rename(tmp_path / "pictures" / "d")
    done = tool("export", "--run", tmp_path / "a")
    assert_refused(done, "the classes $b^$, d, 猫;", "trained on $b^$, c, 猫")


def test_of_a_file_with_several_pages_the_first_is_answered_with_a_warning(
    run_dir, pictures, tmp_path
):
    pages = [Image.open(pictures / f"digit-0{i}.png") for i in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    done = tool("predict", "--run", run_dir, tmp_path / "pages.tif", pictures / "digit-00.png")
    several, one = done.stdout.splitlines()
    assert several.split()[1:] == one.split()[1:]
    assert done.stderr == (
        f"{tmp_path / 'pages.tif'}: holds several pictures; only the first is classified\n"
    )


def test_a_picture_with_broken_exif_is_still_one_line(run_dir, pictures, tmp_path):
    picture = Image.open(pictures / "digit-00.png").convert("RGB")
    exif = picture.getexif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    picture.save(tmp_path / "a.jpg", exif=exif)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    start = data.index(b"Exif")
    for offset in range(start + 6, start + 60):
        (tmp_path / "b.jpg").write_bytes(
            data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :]
        )
        answers = list(Predictor.from_run(run_dir).answer_files([tmp_path / "b.jpg"]))
        assert len(answers) == 1  # an answer or an InputError, never another exception
        if offset > start + 30:
            break


def test_deep_pictures_that_are_not_digits_are_said_to_be_read_each_by_itself(
    tmp_path, caplog, monkeypatch
):
    for name in ("a", "b"):
        Image.fromarray(np.full((28, 28), 900, np.uint16)).save(tmp_path / f"{name}.tif")
    monkeypatch.setattr(Predictor, "__init__", lambda self: None)
    predictor = Predictor()
    predictor.form, predictor.calibration = Form(), None
    said = "2 pictures of more than 8 bits are each read by its own largest value"
    for predictor.preprocess, is_said in (("digit", False), ("resize", True)):
        list(predictor.answer_files([tmp_path / "a.tif", tmp_path / "b.tif"]))
        assert (said in caplog.text) == is_said


def test_a_test_set_of_few_images_is_answered_whole(monkeypatch):
    few = load_dataset("mnist", "test").take(slice(0, 3))
    monkeypatch.setattr(answers, "load_dataset", lambda name, split, **form: few)

    class Fake:
        dataset, form = "mnist", Form()

        def answer(self, name, picture, top_k):
            return name

    assert answers._answer_samples(Fake(), None, 1) == [
        f"test image {i} ({label})" for i, label in enumerate(few.labels)
    ]


def test_a_small_test_set_has_four_samples_from_all_of_it(monkeypatch):
    small = load_dataset("mnist", "test").take(slice(0, 12))
    monkeypatch.setattr(answers, "load_dataset", lambda name, split, **form: small)

    class Fake:
        dataset, form = "mnist", Form()

        def answer(self, name, picture, top_k):
            return name

    chosen = [text.split()[2] for text in answers._answer_samples(Fake(), None, 1)]
    assert chosen == ["0", "3", "6", "9"]


def test_a_folders_files_come_in_sorted_order_without_hidden_ones(tmp_path):
    for name in ("sub", "empty", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("sub/1.png", "b.png", "a.png", ".DS_Store", ".hidden/c.png", "sub/._1.png"):
        (tmp_path / name).touch()
    found = find_pictures(["single.png", str(tmp_path)])
    assert [p.name for p in found] == ["single.png", "a.png", "b.png", "1.png"]


def test_what_predict_passes_over_in_a_folder_is_named(tmp_path, caplog):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.png").touch()
    for name in ("Thumbs.db", "notes.txt", "sub/notes.txt", "__MACOSX/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to("sub")
    (tmp_path / "broken.png").symlink_to("missing.png")
    os.mkfifo(tmp_path / "sub" / "pipe.png")
    assert find_pictures([str(tmp_path)]) == [tmp_path / "sub" / "1.png"]
    for name in ("linked", "broken.png", "sub/pipe.png"):
        assert f"{tmp_path / name}: skipping" in caplog.text
    passed = f"{tmp_path}: skipped what is no picture: notes.txt (2), Thumbs.db, __MACOSX"
    assert passed in caplog.text


def test_of_many_answers_only_the_pictures_that_are_drawn_stay_in_memory():
    seen = np.zeros((28, 28), np.uint8)
    given = (Answer(f"{i}", np.zeros((400, 400), np.uint8), seen, [("7", 1.0)]) for i in range(200))
    kept, failed = answers._collect(given, 200)
    assert [answer.name for answer in kept] == [str(i) for i in range(200)] and failed == 0
    assert sum(answer.picture.nbytes for answer in kept) < 64 * 400 * 400 + 200 * 28 * 28


def test_an_answers_line_stays_one_line_whatever_the_file_is_called():
    picture = np.zeros((28, 28), np.uint8)
    given = [
        Answer(name, picture, picture, [("7", 0.5)]) for name in ("a\nb\x1b[2J", "é", "\udcff")
    ]
    assert answers.format_answers(given, "table") == (
        "a\\nb\\x1b[2J  7 0.5000\né            7 0.5000\n\\udcff       7 0.5000\n"
    )


def test_export_writes_what_the_checkpoint_answers(run_dir):
    before = (run_dir / "inference" / "inference.pdiparams").read_bytes()
    done = tool("export", "--run", run_dir, "--checkpoint", "latest")
    assert done.returncode == 0 and "max difference" in done.stdout, done.stderr
    assert (run_dir / "inference" / "inference.pdiparams").read_bytes() == before
    description = yaml.safe_load((run_dir / "inference" / "inference.yml").read_text())
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert description["test_accuracy"] == metrics["accuracy"]
    assert description["run"] == "a" and description["preprocess"] == "digit"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "classes: 3", "{classes: [a], input: {shape: [x]}, preprocess: digit, dataset: d}"],
)
def test_a_broken_description_is_one_error(run_dir, tmp_path, text):
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).touch()
    (tmp_path / "inference.yml").write_text(text)
    with pytest.raises(InputError, match=r"inference\.yml: "):
        Predictor(tmp_path)


@pytest.mark.parametrize("page", ["export.md", "export.zh-CN.md"])
def test_the_pages_plain_inference_needs_nothing_of_ours(run_dir, pictures, tmp_path, page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n([^`]*paddle\.inference[^`]*)```", text)
    assert "lenet_paddle" not in code and len(code.strip().splitlines()) <= 14
    (tmp_path / "inference").symlink_to(run_dir / "inference")
    (tmp_path / "my_digit.png").symlink_to(pictures / "digit-00.png")
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    probs = Predictor.from_run(run_dir).predict(load_dataset("mnist", "test").images[:1])[0]
    assert done.stdout.split()[0] == str(probs.argmax())
    assert float(done.stdout.split()[1]) == pytest.approx(probs.max(), abs=1e-3)


def test_of_many_answers_the_figure_says_how_many_it_shows(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(answers, "MAX_DRAWN", 2)
    monkeypatch.setattr(answers, "save_figure", lambda figure, path: drawn.append(figure))
    picture = np.zeros((28, 28), np.uint8)
    three = [Answer(f"{n}.png", picture, picture, [("7", 1.0)]) for n in range(3)]
    answers.draw_answers(three, tmp_path / "a.png")
    answers.draw_answers(three[:2], tmp_path / "a.png")
    captions = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert "0.png\n7  p = 1.00" in captions
    answers.draw_answers([Answer("4.png", picture, picture, [])], tmp_path / "a.png")
    assert drawn.pop().axes[0].get_title(loc="left") == "4.png\nnothing written"
    titles = [figure.get_suptitle() for figure in drawn]
    with language("zh"):
        unclear = Answer("5.png", picture, picture, [("7", 0.5)], is_digit=False)
        answers.draw_answers([unclear], tmp_path / "a.png")
    assert drawn[-1].axes[0].get_title(loc="left") == "5.png\n看不清，可能是 7  p = 0.50"
    assert titles[0].endswith("(the first 2 of 3)") and not titles[1].endswith(")")
