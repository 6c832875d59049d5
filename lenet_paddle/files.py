"""Write files and folders atomically: to a temporary path, flushed, then renamed into place."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import logging
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lenet_paddle.errors import InputError
from lenet_paddle.tables import format_json

_log = logging.getLogger(__name__)
# What network drives answer that cannot lock or flush; 524 is Linux's own ENOTSUPP, from NFS.
_NOT_THERE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, 524)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file, links followed, to read bytes.

    Raises `InputError` for a pipe or a device, where reading might block or never end, and OSError
    for a folder and for a file that cannot be opened.
    """
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InputError(f"{path}: a pipe or a device; expected a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe at once, whether or not somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def read_text(path: Path) -> str:
    """Return the content of a regular file in UTF-8; raises as `open_file` does."""
    with open_file(path) as file:
        return file.read().decode()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; replace `path` by it when the block ends.

    It keeps `path`'s suffix, which some writers depend on. If the block raises, nothing is left
    behind and an older `path` stays as it was.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with _naming(path):
            yield temporary
            sync_path(temporary)
            temporary.replace(path)
            sync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do the same for a folder; an older folder at `path` is removed after the swap."""
    with _naming(path), contextlib.ExitStack() as stack:
        make_folder(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{path.name}-", dir=path.parent))
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        temporary.chmod(0o777 & ~current_umask())
        yield temporary
        sync_tree(temporary)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".tmp-old-{path.name}-", dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.replace(path)
        sync_path(path.parent)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Set `path` as an `OSError`'s file name, instead of none (a full disk) or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or ".tmp-" in f"{error.filename} {error.filename2}":
            error.filename = str(path)
        raise


def rename_new(temporary: Path, target: Path) -> bool:
    """Rename the folder `temporary` to `target`; return False if `target` exists."""
    if os.path.lexists(target):
        return False
    sync_tree(temporary)
    try:
        temporary.rename(target)  # fails if another process has just created it
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    sync_path(target.parent)
    return True


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder in `parent` to fill and rename; remove it if it was not renamed."""
    try:
        make_folder(parent)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-run-", dir=parent))
    except OSError as error:
        raise InputError(
            f"{parent}: cannot be written ({error.strerror}); choose another --output-dir"
        ) from None
    try:
        temporary.chmod(0o777 & ~current_umask())
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether `path` lies outside `folder` once all links are resolved."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def describe_content(head: bytes) -> str:
    """Return what a file of another format is by its first 200 bytes, with the way to mend it, for
    the end of an error message; an empty text if that is not known."""
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith(b"version https://git-lfs"):
        return "; it is a pointer of Git LFS: run git lfs pull"
    if b"/annex/objects/" in start:
        return "; it is a pointer of git-annex: run git annex get"
    if start.startswith((b"<!doctype html", b"<html")):
        return "; it is a web page, as a failed download leaves: download it again"
    if start.startswith(b"%pdf-") or b"<svg" in start:
        return "; it is a PDF or SVG: save it as PNG"
    return "" if head else "; it is empty: copy or download it again"


def make_folder(path: Path) -> None:
    """Create `path` and its missing parents, flushed so that they survive a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_path(folder.parent)


def current_umask() -> int:
    """Return the process's file mode creation mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process. Raises `InputError` if another process holds the lock.

    The kernel releases the lock when the process ends, however it ends. On Windows, which opens no
    folders, a file beside the folder is locked.
    """
    try:
        descriptor = _open_locked(folder)
    except BlockingIOError:
        raise InputError(f"{folder} is in use by another process; wait for it or stop it") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(folder: Path) -> int:
    """Return a descriptor that holds the lock. Raises `BlockingIOError` if another one does."""
    if sys.platform == "win32":
        import msvcrt

        descriptor = os.open(folder.with_name(f".tmp-lock-{folder.name}"), os.O_RDWR | os.O_CREAT)
    else:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NOT_THERE:
            _log.warning("%s: its disk has no locks; start no second process on it", folder)
            return descriptor
        os.close(descriptor)
        if isinstance(error, PermissionError):  # msvcrt's
            raise BlockingIOError from None
        raise
    return descriptor


def sync_path(path: Path) -> None:
    """Flush a file or folder to the disk, so that no later rename reaches the disk before it.

    Windows opens no folders, and flushes only what is open for writing.
    """
    is_windows = sys.platform == "win32"
    if is_windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # of folders on SMB, of all files on some FUSE disks
        if error.errno not in _NOT_THERE:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush a folder and its whole content to the disk."""
    for path in folder.rglob("*"):
        sync_path(path)
    sync_path(folder)


def swap_link(link: Path, target: str) -> None:
    """Make `link` name `target`, a path relative to its folder, in one atomic step.

    Writes a symbolic link, or a file of one line where links cannot be made; `follow_link` reads
    both. A folder in its place, as a copy without links has, is removed.
    """
    temporary = link.with_name(f".tmp-{os.getpid()}-{link.name}")
    with _naming(link), contextlib.ExitStack() as stack:
        if link.is_dir() and not link.is_symlink():
            old = Path(tempfile.mkdtemp(prefix=f".tmp-old-{link.name}-", dir=link.parent))
            stack.callback(shutil.rmtree, old, ignore_errors=True)
            link.replace(old / link.name)
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
        except (OSError, NotImplementedError):  # FAT, some network drives, Windows
            write_text(link, f"{target}\n")
        else:
            temporary.replace(link)
            sync_path(link.parent)


def read_link(path: Path) -> str | None:
    """Return what a symbolic link, or a file of one line that stands for one, names."""
    if path.is_symlink():
        return str(path.readlink())
    if not path.is_file():
        return None
    with open_file(path) as file:
        text = file.read(256).decode(errors="replace").strip()
    return text if re.fullmatch(r"[\w-]+(/[\w-]+)?", text) else None


def follow_link(path: Path) -> Path:
    """Return the folder that `path` names if it is a file of one line, else `path` itself."""
    target = read_link(path) if path.is_file() else None
    return path.parent / target if target and (path.parent / target).is_dir() else path


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes in `folder` and below."""
    for path in sorted(folder.rglob(".tmp-*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one atomic step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON (`tables.format_json`) in one atomic step."""
    write_text(path, format_json(value) + "\n")


def format_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return a CSV text: a header and a line per row, numbers with all digits.

    The header has `columns`, then all other columns of the rows in order of appearance; cells that
    a row lacks are empty.
    """
    rows = list(rows)
    names = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
