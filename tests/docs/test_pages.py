"""Check the README and the pages: links, both languages, lists and results, folders, tests."""

import ast
import csv
import importlib.util
import re
import sys
import unicodedata

import pytest
from test_structure import ORDER
from tools_help import ROOT

LOGS = ("docs/experiments.md", "docs/speed-log.md", "docs/mnist-c.md", "docs/tutorial.md")
ALL = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
# The English pages with commands; docs/training.md comes first, since others use its runs.
PAGES = sorted(
    (page for page in ALL if "zh-CN" not in page and page not in LOGS),
    key=lambda page: (page != "README.md", page != "docs/training.md", page),
)
CHINESE = [page for page in ALL if "zh-CN" in page] + ["README.zh-CN.md"]


def chinese(page):
    return page.replace(".md", ".zh-CN.md")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", read(page), re.DOTALL)


def commands(page):
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line for line in (line.split("#")[0].strip() for line in lines) if line]


def anchors(page):
    """Return the anchors of a page's heads, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    heads = [re.sub(r"[^\w\- ]", "", head.lower()) for head in re.findall(r"^#+ (.*)$", text, re.M)]
    return {head.strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "page", [*ALL, "README.zh-CN.md", "CHANGELOG.md", "SECURITY.md", "output/README.md"]
)
def test_every_link_leads_to_a_file_and_a_head_that_exist(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", read(page), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://127.0.0.1:8000/#")):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.resolve().relative_to(ROOT)), link


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_of_a_page_show_the_same_commands_code_and_pictures(page):
    assert commands(page) == commands(chinese(page))
    assert blocks(page, "python") == blocks(chinese(page), "python")
    pictures = r"!\[[^\]]*\]\(([^)]+)\)"
    assert re.findall(pictures, read(page)) == re.findall(pictures, read(chinese(page)))


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_of_a_page_show_the_same_figures(page):
    numbers = [re.findall(r"0\.\d{3,4}\b", read(one)) for one in (page, chinese(page))]
    assert numbers[0] == numbers[1]


def is_mark(char):
    return unicodedata.category(char)[0] in "PS"


def renders(before, first, last, after):
    """Return whether CommonMark shows `before*first...last*after` as emphasis."""
    opens = not is_mark(first) or before.isspace() or is_mark(before)
    return opens and (not is_mark(last) or after.isspace() or is_mark(after))


@pytest.mark.parametrize("page", CHINESE)
def test_a_chinese_page_says_you_in_one_way_and_its_emphasis_renders(page):
    text = re.sub(r"```.*?```|`[^`]*`", "`", read(page), flags=re.DOTALL)
    assert "您" not in text
    emphasis = r"(.)(?<!\*)(\*\*?)(?=[^\s*])([^*\n]+)(?<=[^\s*])\2(?!\*)(.)"
    for before, _, inside, after in re.findall(emphasis, text, re.DOTALL):
        assert renders(before, inside[0], inside[-1], after), inside


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short_and_names_the_tutorial_on_the_first_screen(page):
    assert len(read(page).encode()) <= 10_240
    assert "docs/tutorial" in "".join(read(page).splitlines(keepends=True)[:12])
    assert "make train" in read(page) and "make test" in read(page)
    assert (ROOT / "docs" / "page.gif").stat().st_size < 1_000_000


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_readmes_accuracies_are_those_of_the_kept_tables(page):
    rows = re.findall(r"^\| \[`(\w+)`\]\S+ \| [^|]*(?:test accuracy|测试准确率) \| (\S+ ± \S{6})",
                      read(page), re.M)  # fmt: skip
    assert len(rows) >= 3
    for recipe, said in rows:
        with (ROOT / "docs" / "results" / f"{recipe}.csv").open(newline="") as file:
            *_, mean, spread = csv.DictReader(file)
        assert said == " ± ".join(f"{float(row['test_accuracy']):.4f}" for row in (mean, spread))


@pytest.fixture(scope="module")
def lists():
    """Return docs/lists.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_lists", ROOT / "docs" / "lists.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_lists"] = module
    spec.loader.exec_module(module)
    return module


def test_the_lists_of_the_pages_are_those_of_the_code(lists):
    shown = set()
    for page in lists.PAGES:
        say = lists.translate if "zh-CN" in page else str
        for name in re.findall(r"<!-- (\w+):begin -->", read(page)):
            assert lists.replace_block(read(page), name, lists.LISTS[name](say)) == read(page), (
                f"{page}: {name}: run python docs/lists.py"
            )
            shown.add((name, "zh-CN" in page))
    assert shown == {(name, is_chinese) for name in lists.LISTS for is_chinese in (True, False)}


def test_every_text_of_a_list_has_its_chinese(lists, monkeypatch):
    assert lists.find_untranslated() == [], "add it to docs/chinese.yaml"
    monkeypatch.delitem(lists.CHINESE, "the last images")
    assert lists.find_untranslated() == ["the last images"]


def test_no_translation_of_a_list_is_left_over(lists):
    used = set()
    for make in lists.LISTS.values():
        make(lambda text: used.add(text) or text)
    assert set(lists.CHINESE) <= used


@pytest.mark.parametrize("page", ["docs/design.md", "docs/design.zh-CN.md"])
def test_the_folders_of_the_design_are_the_real_ones_in_the_order_of_imports(page):
    [tree] = re.findall(r"```text\nlenet_paddle/\n(.*?)```", read(page), re.DOTALL)
    named = [name.removesuffix(".py") for name in re.findall(r"^  ([\w.]+)", tree, re.M)]
    assert [name for name in named if name not in ("__init__", "page")] == ORDER
    package = ROOT / "lenet_paddle"
    real = {path.stem for path in package.iterdir() if path.name != "__pycache__"}
    assert set(named) == real
    for folder in re.findall(r"^(\w+)/", tree, re.M):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("page", ["docs/design.md", "docs/design.zh-CN.md"])
def test_every_promise_names_files_of_tests_that_exist(page):
    named = re.findall(r"`(tests/[\w/]+\.py)`", read(page))
    assert len(set(named)) > 15
    for path in named:
        tree = ast.parse(read(path))
        assert any(node.name.startswith("test_") for node in tree.body
                   if isinstance(node, ast.FunctionDef)), path  # fmt: skip
