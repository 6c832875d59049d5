"""Check the tutorials: same commands in both, which run and make the figures shown."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tools_help import ROOT

DOCS = ROOT / "docs"
PAGES = ("tutorial.md", "tutorial.zh-CN.md")
NOTEBOOKS = sorted(path.name for path in DOCS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """Return docs/make.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def _copy_pages(folder: Path) -> None:
    """Copy the pages, and the pictures that none of their commands makes."""
    folder.mkdir()
    for name in (*PAGES, "visualdl-tabs.png", "page.png", "forgetting.png"):
        shutil.copy(DOCS / name, folder)


def test_both_tutorials_hold_the_same_commands(make: ModuleType) -> None:
    english, chinese = (make.BLOCK.findall(_read(page)) for page in PAGES)
    assert len(english) > 30
    for ours, theirs in zip(english, chinese, strict=True):
        assert theirs[0] == ours[0]
        assert theirs[1].replace(" --lang zh", "") == ours[1]
        if "tools/train.py" in ours[1]:  # else the run would be there already
            assert theirs[1] == ours[1]


def test_both_tutorials_show_the_same_figures(make: ModuleType) -> None:
    english, chinese = (make.PICTURE.findall(_read(page)) for page in PAGES)
    assert english == [link.replace("figures/zh/", "figures/") for link in chinese]


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_and_link_of_a_tutorial_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", _read(page))
    assert links
    for link in links:
        assert link.startswith(("https://", "http://127.0.0.1:")) or (DOCS / link).is_file(), link


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_tutorial_is_followed_by_its_output(make: ModuleType, page: str) -> None:
    for match in make.BLOCK.finditer(_read(page)):
        only_draws = all("tools/visualize.py" in line for line in match[2].strip().splitlines())
        assert only_draws or "```text\n" in match.group(), match.group()


@pytest.mark.parametrize(
    ("page", "said"), zip(PAGES, ("**You can now**", "**现在你能**"), strict=True)
)
def test_each_section_says_what_one_can_do_now_and_sets_exercises_with_folded_answers(
    page: str, said: str
) -> None:
    opening, *sections = re.split(r"^## ", _read(page), flags=re.MULTILINE)
    assert len(sections) == len(re.findall(r"\]\(#\d+-", opening)) >= 20
    for section in sections:
        assert said in section, section[:40]
        assert "<details><summary>" in section, section[:40]


def test_the_tutorial_writes_the_network_and_calls_paddles_own_functions(make: ModuleType) -> None:
    code = "".join(block[1] for block in make.BLOCK.findall(_read("tutorial.md")))
    calls = (
        *("nn.Sequential(", "(nn.Layer)", "vision.models", "paddle.summary(", "nn.Conv2D("),
        *("Normalize(", "paddle.Model(", ".prepare(", ".fit(", ".evaluate(", ".predict("),
        *(".save(", ".load(", "InputSpec(", "training=False", "callbacks.VisualDL("),
    )
    assert [call for call in calls if call not in code] == []


# Numbers of four places in the text that no output shows: of other processors, and of figures.
ELSEWHERE = {"0.9822", "0.9830", "0.5175", "0.9859"}


@pytest.mark.parametrize("page", PAGES)
def test_the_accuracies_in_the_text_are_those_of_the_outputs(page: str) -> None:
    outputs = "".join(re.findall(r"```text\n(.*?)```", _read(page), re.DOTALL))
    text = re.sub(r"```.*?```", "", _read(page), flags=re.DOTALL)
    said = set(re.findall(r"\b[01]\.\d{4}\b", text)) - ELSEWHERE
    assert said and [number for number in said if number not in outputs] == []


def test_the_pages_hold_no_path_of_the_machine_that_made_them() -> None:
    for name in (*PAGES, *NOTEBOOKS):
        assert not re.search(r"/(tmp|home|root)/", _read(name)), name


def test_a_block_becomes_its_command_and_what_it_printed(make: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "tutorial.md"
    page.write_text("a\n\n```bash\necho one\n```\n\n```text\nold\n```\n\n```sh\nexit 1\n```\n")
    make.make_page(page, tmp_path / "figures", tmp_path, {}, False)
    expected = "a\n\n```bash\necho one\n```\n\n```text\none\n```\n\n```sh\nexit 1\n```\n"
    assert page.read_text() == expected
    make.make_page(page, tmp_path / "figures", tmp_path, {}, False)
    assert page.read_text() == expected


def test_what_was_written_is_left_out_and_legends_are_folded(
    make: ModuleType, tmp_path: Path
) -> None:
    output = "a  b\n1  2\n\nMACs: 416,520\nMACs: multiply-adds\nrun:      output/x\nx/kinds.png\n"
    page = tmp_path / "tutorial.md"
    page.write_text(f"a\n\n```bash\nprintf '{output}'\n```\n\nb\n\n```bash\necho a.png\n```\n")
    expected = (
        f"a\n\n```bash\nprintf '{output}'\n```\n\n```text\na  b\n1  2\n\nMACs: 416,520\n```\n\n"
        "<details><summary>the rest of the output</summary>\n\n```text\nMACs: multiply-adds\n```\n"
        "\n</details>\n\nb\n\n```bash\necho a.png\n```\n"
    )
    for _ in range(2):
        make.make_page(page, tmp_path / "figures", tmp_path, {}, False)
        assert page.read_text() == expected


def test_a_block_that_fails_ends_the_making(make: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="status 3"):
        make.run("bash", "echo before\nexit 3\n", tmp_path, False)
    with pytest.raises(SystemExit, match="status 1"):
        make.run("python", "raise ValueError\n", tmp_path, False)


def test_a_figure_that_no_command_makes_is_named(make: ModuleType, tmp_path: Path) -> None:
    _copy_pages(tmp_path / "docs")
    with pytest.raises(SystemExit, match=r"samples\.png"):
        make.check_pictures(tmp_path / "docs")


@pytest.mark.slow
def test_every_command_of_the_tutorials_runs_and_makes_its_figures(
    make: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("skimage", reason="the figures need pip install '.[vision]'")
    pytest.importorskip("sklearn", reason="the figures need pip install '.[vision]'")
    docs = tmp_path / "docs"
    _copy_pages(docs)
    command = [sys.executable, str(DOCS / "make.py"), "--quick", "--docs", str(docs)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        for link in make.PICTURE.findall(_read(page)):
            assert (docs / link).is_file(), link
        text = (docs / page).read_text(encoding="utf-8")
        assert make.BLOCK.sub("", text) == make.BLOCK.sub("", _read(page))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_holds_paddles_own_calls_and_needs_the_requirements_only(
    make: ModuleType, name: str
) -> None:
    assert name in make.NOTEBOOKS
    assert (DOCS / name).stat().st_size < 300_000
    cells = json.loads(_read(name))["cells"]
    code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
    for call in ("nn.Conv2D(", ".prepare(", ".fit(", ".evaluate(", ".predict(", ".load("):
        assert call in code
    used = set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) - sys.stdlib_module_names
    assert used == {"lenet_paddle", "matplotlib", "numpy", "paddle", "IPython"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom_and_draws_its_curve(
    make: ModuleType, tmp_path: Path, name: str
) -> None:
    for module in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(module, reason="the notebook needs pip install '.[notebook]'")
    import nbformat

    path = tmp_path / "docs" / name
    path.parent.mkdir()
    shutil.copy(DOCS / name, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        make.run_notebook(path, tmp_path)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum("image/png" in str(cell.outputs) for cell in cells) >= 6
    assert path.stat().st_size < 300_000
