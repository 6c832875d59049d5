"""The environment before Paddle is imported, the choice of a device, and the seeds."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle import runtime
from lenet_paddle.errors import InputError
from lenet_paddle.runtime import BLAS_SWITCH, mkl_cpu_type, prepare_environment
from lenet_paddle.settings import USER_HOME, user_home

AVX2 = "fpu sse4_2 avx fma avx2"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_does_not_import_paddle() -> None:
    assert _python("import sys, lenet_paddle; print('paddle' in sys.modules)") == "False"


def test_every_public_name_resolves() -> None:
    import lenet_paddle

    for name in lenet_paddle.__all__:
        found = getattr(lenet_paddle, name)
        assert getattr(found, "__name__", name) == name
    assert {"TrainConfig", "load_dataset", "build_model", "evaluate"} <= set(lenet_paddle.__all__)


def test_an_unknown_public_name_lists_the_valid_ones() -> None:
    import lenet_paddle

    with pytest.raises(AttributeError, match=r"no 'nothing'; it has .*TrainConfig"):
        _ = lenet_paddle.nothing


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", AVX512, None),
        ("GenuineIntel", AVX2, None),
        ("AuthenticAMD", AVX512, "7"),
        ("AuthenticAMD", AVX2, "5"),
        ("AuthenticAMD", AVX512.replace(" avx512vl", ""), "5"),  # MKL uses all of them
        ("AuthenticAMD", AVX2.replace(" fma", ""), None),
        ("AuthenticAMD", "", None),
    ],
)
def test_mkl_gets_no_instruction_set_that_an_amd_processor_lacks(
    vendor: str, flags: str, expected: str | None
) -> None:
    assert mkl_cpu_type({"vendor_id": vendor, "flags": flags}) == expected


@pytest.mark.parametrize("cpu", [{}, {"vendor_id": "AuthenticAMD"}, {"flags": AVX512}])
def test_mkl_gets_no_value_for_an_unknown_processor(cpu: dict[str, str]) -> None:
    assert mkl_cpu_type(cpu) is None


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An empty environment in which Paddle is not imported."""
    environ: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    return environ


@pytest.fixture
def amd(tmp_path: Path) -> Path:
    """/proc/cpuinfo of an AMD machine with AVX2; the second processor must be ignored."""
    path = tmp_path / "cpuinfo"
    first = f"processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC: a\nflags\t\t: {AVX2}\n"
    path.write_text(f"{first}\nprocessor\t: 1\nvendor_id\t: GenuineIntel\nflags\t\t: fpu\n")
    return path


def test_the_environment_of_an_amd_machine_names_its_instruction_set(
    environ: dict[str, str], amd: Path
) -> None:
    prepare_environment(amd)
    assert environ["MKL_DEBUG_CPU_TYPE"] == "5"


def test_the_users_value_wins(environ: dict[str, str], amd: Path) -> None:
    environ["MKL_DEBUG_CPU_TYPE"] = "3"
    prepare_environment(amd)
    assert environ["MKL_DEBUG_CPU_TYPE"] == "3"


@pytest.mark.parametrize("value", ["off", "OFF"])
def test_the_switch_leaves_mkl_unchanged(environ: dict[str, str], amd: Path, value: str) -> None:
    environ[BLAS_SWITCH] = value
    prepare_environment(amd)
    assert "MKL_DEBUG_CPU_TYPE" not in environ


def test_nothing_is_set_once_paddle_is_imported(
    environ: dict[str, str], amd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paddle", sys)
    prepare_environment(amd)
    assert "MKL_DEBUG_CPU_TYPE" not in environ


def test_nothing_is_set_without_cpuinfo(environ: dict[str, str], tmp_path: Path) -> None:
    prepare_environment(tmp_path / "missing")
    assert "MKL_DEBUG_CPU_TYPE" not in environ


_HOME = "import os, lenet_paddle; from lenet_paddle.settings import user_home; "


def _with_home(code: str, home: str | None) -> list[str]:
    """Import the package where HOME is `home`, and return what `code` prints, by words."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "MPLCONFIGDIR", USER_HOME)}
    environment = kept | ({} if home is None else {"HOME": home})
    command = [sys.executable, "-c", _HOME + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    code = "print(os.environ['HOME'], user_home(), 'MPLCONFIGDIR' in os.environ)"
    assert _with_home(code, str(tmp_path)) == [str(tmp_path), str(tmp_path), "False"]
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_libraries_get_one_that_ends_with_the_process() -> None:
    code = "print(os.environ['HOME'], user_home(), os.path.isdir(os.environ['HOME']))"
    given, own, existed = _with_home(code, "/nonexistent")
    assert (own, existed) == ("/nonexistent", "True")
    assert given != own and not Path(given).exists()


def test_a_child_without_home_gets_one_though_the_users_is_known() -> None:
    code = "print(os.path.isdir(os.environ['HOME']), user_home())"
    assert _with_home(
        f"os.environ['{USER_HOME}'] = '/users'; del os.environ['HOME']; "
        f"lenet_paddle.runtime.give_home(); {code}",
        "/",
    ) == ["True", "/users"]


@pytest.mark.parametrize("folder", [".cache/matplotlib", ".config", ".config/matplotlib"])
def test_a_home_in_which_a_library_could_not_write_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (USER_HOME, "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")  # for it to be removed at the end, whatever is set meanwhile
        monkeypatch.delenv(name)
    closed = str(tmp_path / folder)  # by a test that root's rights do not pass over
    monkeypatch.setattr(os, "access", lambda path, _: str(path) != closed)
    runtime.give_home()
    given = os.environ["HOME"]
    assert given == os.environ["MPLCONFIGDIR"] != str(tmp_path)
    assert user_home() == os.environ[USER_HOME] == str(tmp_path)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("here.example", "http://here.example:80"),
    ],
)
def test_the_url_of_a_server_opens_in_a_browser_of_this_machine(host: str, url: str) -> None:
    assert runtime.url_of(host, 80) == url


def test_a_fork_leaves_the_temporary_home_and_a_child_process_shares_it() -> None:
    code = (
        "import subprocess, sys; home = os.environ['HOME']\n"
        "if os.fork() == 0: sys.exit()\n"
        "os.wait(); print(home, os.path.isdir(home), flush=True)\n"
        "child = 'import os, lenet_paddle; print(os.environ[\"HOME\"])'\n"
        "subprocess.run([sys.executable, '-c', child], check=True); print(os.path.isdir(home))"
    )
    given, after_fork, of_child, after_child = _with_home(code, "/nonexistent")
    assert (after_fork, of_child, after_child) == ("True", given, "True")


def _skip_with_gpu() -> None:
    import paddle

    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("NOT TESTED HERE: this machine has a GPU, the property is about its absence")


def test_a_missing_gpu_is_refused_with_the_flag_to_use() -> None:
    _skip_with_gpu()
    with pytest.raises(InputError, match=r"device gpu: Paddle .*--device cpu"):
        runtime.select_device("gpu")


@pytest.mark.parametrize("amp", ["O1", "O2"])
def test_mixed_precision_on_the_cpu_is_refused(amp: str) -> None:
    with pytest.raises(InputError, match=f"amp {amp} needs a GPU"):
        runtime.select_device("cpu", amp)


def test_auto_takes_the_cpu_without_a_gpu() -> None:
    _skip_with_gpu()
    assert runtime.select_device("auto") == runtime.select_device("cpu") == "cpu"


def test_equal_seeds_give_equal_draws_of_every_generator() -> None:
    import paddle

    def draw(seed: int) -> list[float]:
        runtime.seed_everything(seed)
        legacy = np.random.rand(3)  # noqa: NPY002  the generator that Paddle's own code uses
        return [random.random(), *legacy, *paddle.rand([3]).tolist()]

    first, again, other = draw(7), draw(7), draw(8)
    assert first == again
    assert not set(first) & set(other)


def test_versions_are_those_installed() -> None:
    import paddle

    found = runtime.versions()
    assert paddle.__version__ in (found.get("paddlepaddle"), found.get("paddlepaddle-gpu"))
    assert found["numpy"] == np.__version__
    assert found["mkl_debug_cpu_type"] == os.environ.get("MKL_DEBUG_CPU_TYPE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_for_the_next_allocation():
    code = (
        "import resource, numpy as np\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def spend():\n"
        "    kept = [np.ones(400_000, np.float32) for _ in range(8)]\n"
        "import lenet_paddle; spend(); before = faults()\n"
        "for _ in range(50): spend()\n"
        "print((faults() - before) / 50)"
    )
    assert float(_python(code)) < 50  # of 3,100 pages; without it all of them
