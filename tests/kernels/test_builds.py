"""Builds of the operators pass their tests: with sanitizers, other instructions, by clang."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from tools_help import ROOT

from lenet_paddle.runtime import read_cpuinfo

pytestmark = pytest.mark.slow
TESTS = "tests/kernels/test_chain.py"
# Runs them in a process of its own, since a library stays loaded.
CODE = """
import sys
import pytest
from lenet_paddle.kernels import library
native_flag, flags, width = sys.argv[1:4]
if native_flag:
    library.native_flag = lambda: native_flag
library.FLAGS += flags.split()
status = pytest.main(["-q", "-x", "--capture=sys", "-p", "no:cacheprovider", *sys.argv[4:]])
found = library.load_library([]).chain.vector_width()
sys.exit(status or found != int(width or found))
"""


def run_tests(folder, *, native_flag="", flags="", width="", more=(), **environment):
    """Run the operators' tests with another build, which `width` names: its images a vector."""
    args = (native_flag, flags, width, TESTS, *more)
    status, output = run_python(folder, CODE, *args, timeout=900, **environment)
    assert status == 0, output[:9000]


def run_python(folder, code, *args, timeout, **environment):
    """Run code with a cache of its own in `folder`; return its status and all that it wrote."""
    with (folder / "output.txt").open("w+") as output:  # a child that is left keeps no pipe open
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": str(folder)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=timeout,
        )
        output.seek(0)
        return done.returncode, output.read()


@pytest.fixture
def asan():
    """The environment for GCC's address sanitizer in a Python that was built without it."""
    if not shutil.which("cc"):
        pytest.skip("there is no cc")
    names = [
        subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so.6")  # the second for exceptions
    ]
    if not Path(names[0]).is_absolute():
        pytest.skip("cc has no libasan.so")
    return {
        "CC": "env -u LD_PRELOAD cc",  # which would be slow
        "LD_PRELOAD": " ".join(names),
        # Under the sanitizer, Paddle does not find its libraries by itself.
        "LD_LIBRARY_PATH": str(Path(paddle.__file__).with_name("libs")),
        # What Paddle and Python free in their own ways, or at the end only, is not looked at.
        "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0",
    }


def test_sanitizers_find_nothing(tmp_path, asan):
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all -O1 -g"
    run_tests(tmp_path, flags=flags, **asan)


def test_a_sanitizer_sees_what_is_written_past_the_end(tmp_path, asan):
    """Else the test above would say nothing."""
    code = """
import ctypes, sys
import numpy as np, paddle
from paddle import nn
from lenet_paddle.kernels import library
from lenet_paddle.kernels.operators import Chain
from lenet_paddle.models.chains import find_stages
library.FLAGS += ["-fsanitize=address"]
layer = nn.Linear(3, 40)
chain = Chain(find_stages([layer], [3])[0], [int(sys.argv[1])])
chain(paddle.rand([64, 3]))
"""
    for outputs in (40, 39):  # the size of what is allocated for the result
        status, output = run_python(tmp_path, code, str(outputs), timeout=300, **asan)
        assert (status == 0) == (outputs == 40), output[-3000:]
        assert ("heap-buffer-overflow" in output) == (outputs == 39)


TWO_CALLERS = """
#include "chain.c"
static int sums[2];
static void add(void *sum, int item, int worker) {
    (void)worker;
    __atomic_fetch_add((int *)sum, item, __ATOMIC_RELAXED);
}
static void *call(void *sum) {
    for (int i = 0; i < 1000; i++) parallel(add, sum, 10, 3);
    return 0;
}
int main(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(threads + i, 0, call, sums + i);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
    return sums[0] != 45000 || sums[1] != 45000;
}
"""


def test_threads_that_call_at_once_have_no_data_race(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no cc")
    (tmp_path / "callers.c").write_text(TWO_CALLERS)
    sources = ROOT / "lenet_paddle" / "kernels"
    flags = ["-fsanitize=thread", "-O1", "-g", "-std=gnu11", "-pthread", f"-I{sources}"]
    command = ["cc", *flags, tmp_path / "callers.c", "-o", tmp_path / "callers"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cc has no thread sanitizer")
    done = subprocess.run([tmp_path / "callers"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize(
    ("native_flag", "needs", "width"),
    [("-march=x86-64", "sse2", "4"), ("-march=x86-64-v3", "avx2", "8"), ("", "avx512f", "16")],
)
def test_each_width_of_vectors_is_right(tmp_path, native_flag, needs, width):
    if needs not in read_cpuinfo().get("flags", "").split():
        pytest.skip(f"the processor has no {needs}")
    run_tests(tmp_path, native_flag=native_flag, width=width)


@pytest.mark.parametrize("name", ["clang", "ziglang"])
def test_clang_is_right(tmp_path, name):
    if name == "clang" and not shutil.which("clang"):
        pytest.skip("there is no clang")
    if name == "ziglang" and not importlib.util.find_spec("ziglang"):
        pytest.skip("there is no ziglang; pip install '.[fast]'")
    own = "clang" if name == "clang" else f"{sys.executable} -m ziglang cc"
    run_tests(tmp_path, CC=own)
