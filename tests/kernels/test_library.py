"""How the operators are found and built: caches, compilers, processes, damage."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tools_help import QUICK, ROOT, tool, wait_for
from training_help import train

from lenet_paddle import runtime
from lenet_paddle.kernels import compiler, library
from lenet_paddle.kernels.library import Conv, Missing, load_library

SMALL_CONV = Conv(1, 4, 4, 0, 1, 3)
WARNING = "Paddle's own layers are used"
LOAD = """
from lenet_paddle.kernels.library import Conv, load_library
print(load_library([Conv(1, 4, 4, 0, 1, 3)]).chain.vector_width())
"""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, of a process that has not loaded anything yet; the folder of libraries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.delenv("CC", raising=False)
    forget(monkeypatch)
    return tmp_path / "cache" / "lenet_paddle"


@pytest.fixture
def real():
    """The command of a C compiler."""
    try:
        return compiler.find_compiler()
    except Missing as reason:
        pytest.skip(str(reason))


def forget(monkeypatch):
    monkeypatch.setattr(library, "_found", {})


def content(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def write_compiler(monkeypatch, folder, script):
    """Make `script` the C compiler."""
    path = folder / "own-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setenv("CC", str(path))
    return path


def is_alive(pid):
    """Return whether a process runs; one that is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- what is not built ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "evaluate", "analyze", "benchmark"])
def test_help_builds_nothing(cache, monkeypatch, tmp_path, name):
    write_compiler(monkeypatch, tmp_path, f"touch {tmp_path}/called")
    assert tool(name, "--help").returncode == 0
    assert not (tmp_path / "called").exists() and not cache.exists()


def test_an_import_and_a_network_build_nothing(cache, monkeypatch, tmp_path):
    write_compiler(monkeypatch, tmp_path, f"touch {tmp_path}/called")
    code = "import lenet_paddle.models.layers; lenet_paddle.build_model('lenet5')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert not (tmp_path / "called").exists() and not cache.exists()


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_the_switch_turns_the_operators_off_without_a_warning(
    cache, monkeypatch, tmp_path, caplog, word
):
    monkeypatch.setenv(library.SWITCH, word)
    with pytest.raises(Missing, match="is off"):
        load_library([])
    train(tmp_path / "run", model="lenet_builtin", epochs=1)
    assert not cache.exists() and WARNING not in caplog.text


@pytest.mark.slow
def test_without_a_compiler_one_line_says_how_to_mend_it_and_training_works(cache, tmp_path):
    if compiler.importlib.util.find_spec("ziglang"):
        pytest.skip("ziglang is installed")
    environment = os.environ | {"PATH": str(tmp_path)}
    args = [*QUICK, "--model", "lenet_builtin", "--output-dir", tmp_path / "runs"]
    done = tool("train", *args, env=environment)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if WARNING in line]
    assert "install gcc or clang, or pip install '.[fast]'" in line
    assert content(cache) == []


def test_compilers_are_tried_in_this_order(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: name == "ziglang")
    found = []
    for name in (None, "clang", "gcc", "cc", "own"):
        if name:
            (tmp_path / name).touch(0o700)
        monkeypatch.setenv("CC", "own -m64 '-DNAME=a b'")
        found.append(compiler.find_compiler())
    zig = [sys.executable, "-m", "ziglang", "cc"]
    assert found == [zig, ["clang"], ["gcc"], ["cc"], ["own", "-m64", "-DNAME=a b"]]


def test_a_cc_that_is_no_command_is_named(monkeypatch):
    monkeypatch.setenv("CC", "gcc 'open")
    with pytest.raises(Missing, match=r"\$CC is .*unset it"):
        compiler.find_compiler()


# ---- compilers that fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'x.c:1: error: no stdint.h' >&2; exit 1", "own-cc fails on chain.c (x.c:1: error"),
        ("echo 'not today'; exit 3", "(not today); $CC names another"),
        ("kill -9 $$", "(status -9)"),
        ('while [ "$1" != -o ]; do shift; done; echo half > "$2"; exit 1', "(status 1)"),
        ("exit 0", "cannot be loaded"),
        ('while [ "$1" != -o ]; do shift; done; echo text > "$2"', "cannot be loaded"),
    ],
    ids=["an error", "another word", "killed", "half a file", "no file", "no library"],
)
def test_a_compiler_that_fails_is_named_with_its_reason(
    cache, monkeypatch, tmp_path, script, words
):
    write_compiler(monkeypatch, tmp_path, script)
    with pytest.raises(Missing) as caught:
        load_library([SMALL_CONV])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not [name for name in content(cache) if name.startswith(".tmp")]


def test_a_compiler_that_fails_is_not_asked_again(cache, monkeypatch, tmp_path):
    write_compiler(monkeypatch, tmp_path, f"echo asked >> {tmp_path}/asked; exit 1")
    for _ in range(2):
        with pytest.raises(Missing):
            load_library([])
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_compiler_that_hangs_is_ended_with_its_children(cache, monkeypatch, tmp_path):
    write_compiler(monkeypatch, tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setattr(compiler, "PATIENCE", 1)
    with pytest.raises(Missing, match="takes more than 1 s"):
        load_library([])
    assert content(cache) == []
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_alive(child), 10)


def test_reasons_are_in_the_order_of_the_commands_and_none_for_success(tmp_path):
    commands = [["sh", "-c", f"sleep 0.{9 - i}; exit {i % 3}"] for i in range(9)]
    reasons = compiler.run_compilers(commands, tmp_path)
    assert reasons == ["", "status 1", "status 2"] * 3


def test_a_compiler_that_cannot_be_started_is_named(tmp_path):
    with pytest.raises(Missing, match="nowhere does not start"):
        compiler.run_compilers([["sleep", "1000"], [str(tmp_path / "nowhere")]], tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_while_it_builds_leaves_no_library_and_the_next_start_works(
    cache, monkeypatch, tmp_path, real, number
):
    write_compiler(monkeypatch, tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    code = "from lenet_paddle.kernels.library import load_library; load_library([])"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    time.sleep(0.3)  # it waits for the compiler
    process.send_signal(number)
    assert process.wait(30) != 0
    pid = int((tmp_path / "pid").read_text())
    if number == signal.SIGINT:  # Python cleans up
        wait_for(lambda: not is_alive(pid), 10)
        assert content(cache) == []
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        [left] = content(cache)
        assert left.startswith(".tmp-")
        long_ago = time.time() - 2 * compiler.PATIENCE - 1
        os.utime(cache / left, (long_ago, long_ago))
    monkeypatch.delenv("CC")
    load_library([])
    [name] = content(cache)
    assert name.startswith("chain-") and name.endswith(".so")


def test_what_another_process_is_building_is_left_alone(cache, real):
    (cache / ".tmp-other").mkdir(parents=True)
    cache.chmod(0o700)
    load_library([])
    assert (cache / ".tmp-other").exists()


# ---- the cache -----------------------------------------------------------------------------------


def test_a_library_is_built_once_and_loaded_by_the_next_process(cache, monkeypatch, tmp_path, real):
    write_compiler(monkeypatch, tmp_path, f'echo >> {tmp_path}/calls; exec {" ".join(real)} "$@"')
    for _ in range(2):
        subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "calls").read_text() == "\n\n"  # chain.c and convolution.c
    assert [name.split("-")[0] for name in content(cache)] == ["chain", "convolution"]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o700}


def test_processes_that_start_together_all_work(cache, real):
    command = [sys.executable, "-c", LOAD]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate(timeout=120)[0] for process in processes}
    assert {process.returncode for process in processes} == {0} and len(answers) == 1
    assert not [name for name in content(cache) if not name.endswith(".so")]


@pytest.mark.parametrize("damage", ["empty", "short", "one bit", "text"])
def test_a_damaged_library_is_built_anew(cache, monkeypatch, real, damage):
    load_library([])
    [name] = content(cache)
    whole = (cache / name).read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    bad = {"empty": b"", "short": whole[:-5000], "one bit": bytes(changed), "text": b"text"}
    (cache / name).unlink()  # it is mapped
    (cache / name).write_bytes(bad[damage])
    forget(monkeypatch)
    assert load_library([]).chain.vector_width() in (4, 8, 16)
    assert content(cache) == [name] and (cache / name).read_bytes() == whole


def change_processor(monkeypatch, _):
    monkeypatch.setattr(library, "read_cpuinfo", lambda: {"flags": "sse2"})


def change_flags(monkeypatch, _):
    monkeypatch.setattr(library, "FLAGS", [*library.FLAGS, "-O2"])


def change_compiler(monkeypatch, folder):
    write_compiler(monkeypatch, folder, 'exec cc "$@"')


def change_source(monkeypatch, folder):
    (folder / "vectors.h").write_text(library.SOURCES[2].read_text() + "\n")
    monkeypatch.setattr(library, "SOURCES", [*library.SOURCES[:2], folder / "vectors.h"])


@pytest.mark.parametrize("change", [change_processor, change_flags, change_compiler, change_source])
def test_a_library_of_another_processor_or_build_is_not_loaded(
    cache, monkeypatch, tmp_path, real, change
):
    load_library([])
    [name] = content(cache)
    os.utime(cache / name, (time.time() - 1e6,) * 2)
    forget(monkeypatch)
    change(monkeypatch, tmp_path)
    before = (cache / name).stat().st_mtime
    load_library([])
    assert len(content(cache)) == 2 and (cache / name).stat().st_mtime == before  # not used


def test_without_a_description_of_the_processor_a_library_is_for_this_machine_only(monkeypatch):
    monkeypatch.setattr(library, "read_cpuinfo", dict)
    here = library._name(None)
    monkeypatch.setattr(library.platform, "node", lambda: "another")
    assert library._name(None) != here


def test_what_was_not_used_for_90_days_goes_when_something_is_built(cache, monkeypatch, real):
    load_library([])
    [name] = content(cache)
    old, unused = time.time() - 89 * 86_400, time.time() - 91 * 86_400
    os.utime(cache / name, (unused, unused))
    for stem, age in (("chain-old", old), ("chain-unused", unused)):
        (cache / f"{stem}-0.so").write_bytes(b"")
        os.utime(cache / f"{stem}-0.so", (age, age))
    forget(monkeypatch)
    load_library([])  # nothing is built, and `name` is used
    assert len(content(cache)) == 3
    load_library([SMALL_CONV])
    stems = [each.rpartition("-")[0] for each in content(cache)]
    assert len(stems) == 3 and name.rpartition("-")[0] in stems and "chain-old" in stems


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(
    cache, monkeypatch, tmp_path, real, mode
):
    load_library([])
    [name] = content(cache)
    os.utime(cache / name, (0, 0))
    cache.chmod(mode)
    forget(monkeypatch)
    monkeypatch.setattr(library.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert load_library([]).chain.vector_width() in (4, 8, 16)
    assert content(cache) == [name] and (cache / name).stat().st_mtime == 0
    assert content(tmp_path / "temporary") == []


def test_a_folder_of_another_user_is_neither_read_nor_written(cache, monkeypatch, real):
    cache.mkdir(parents=True, mode=0o755)
    monkeypatch.setattr(runtime.os, "getuid", lambda: 12345)
    load_library([])
    assert content(cache) == []


def test_where_nothing_can_be_written_a_temporary_folder_is_used_and_removed(
    cache, monkeypatch, tmp_path, real
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    (tmp_path / "temporary").mkdir()
    code = LOAD + "import os; print(os.listdir(os.environ['TMPDIR']))"
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.endswith("\n[]\n"), done.stderr
    assert content(tmp_path / "temporary") == []


def test_a_cache_that_cannot_be_written_is_still_read(cache, monkeypatch, real):
    load_library([])
    forget(monkeypatch)

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(library.tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(runtime.os, "utime", refuse)
    load_library([])


def test_where_libraries_cannot_be_loaded_a_temporary_folder_is_tried(cache, monkeypatch, real):
    load = ctypes.CDLL

    def load_elsewhere(path):  # as with a cache on a file system that is mounted without exec
        if path.startswith(str(cache)):
            raise OSError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(library.ctypes, "CDLL", load_elsewhere)
    assert load_library([]).chain.vector_width() in (4, 8, 16)


@pytest.mark.parametrize("value", ["", "relative/cache"])
def test_a_cache_home_that_is_empty_or_relative_is_the_users_own(
    cache, monkeypatch, tmp_path, value
):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    with library._cache_folder() as folder:
        assert folder == tmp_path / ".cache" / "lenet_paddle"


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("omp", "ranks", "quota", "threads"),
    [
        ("3", "1", None, 3),
        ("2,1", "1", None, 2),  # of nested loops, for OpenMP
        ("0", "1", None, 8),
        ("many", "1", None, 8),
        (None, "1", None, 8),
        (None, "2", None, 4),
        (None, "16", None, 1),
        ("3", "2", None, 3),
        (None, "1", "max 100000", 8),
        (None, "1", "150000 100000", 2),
        (None, "2", "400000 100000", 2),
        (None, "1", "1600000 100000", 8),
    ],
)
def test_threads_are_those_of_openmp_or_the_share_of_a_rank(
    monkeypatch, tmp_path, omp, ranks, quota, threads
):
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", ranks)
    monkeypatch.delenv(runtime.THREADS, raising=False)
    if omp:
        monkeypatch.setenv(runtime.THREADS, omp)
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert runtime.count_threads(tmp_path / "cpu.max") == threads


# ---- $CC, the wheel ------------------------------------------------------------------------------


def test_flags_of_cc_are_used_and_none_makes_the_process_round_small_numbers_to_zero(
    cache, monkeypatch, tmp_path, real
):
    own = write_compiler(
        monkeypatch, tmp_path, f'echo "$@" >> {tmp_path}/calls; exec {" ".join(real)} "$@"'
    )
    monkeypatch.setenv("CC", f"{own} -ffast-math -DOWN=1")
    code = LOAD + "import numpy; print(numpy.float32(1e-38) / numpy.float32(100) > 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("True\n"), done.stderr
    for line in (tmp_path / "calls").read_text().splitlines():
        assert line.startswith("-ffast-math -DOWN=1 -fno-fast-math -O3")


@pytest.mark.slow
def test_the_wheel_holds_the_sources(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "lenet_paddle", source / "lenet_paddle")
    for name in ("pyproject.toml", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*command, "-w", tmp_path, source], check=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in library.SOURCES:
        assert f"lenet_paddle/kernels/{path.name}" in names
