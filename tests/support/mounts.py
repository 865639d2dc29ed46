"""File systems for a test: a small real ext4 on a loop device, a folder that is read-only or that may not be changed.

They need root; where a test has not got what it takes, it is skipped with the reason.
"""
import contextlib
import os
import pathlib
import stat
import subprocess

import pytest

from support.process import program


@contextlib.contextmanager
def ext4(folder, megabytes=8):
    """A new ext4 of that size, mounted at the folder, which is made; its image lies beside it."""
    image = folder.with_suffix(".ext4")
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    # Nothing is kept back for root: full is full.
    _run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image)
    folder.mkdir()
    with _undone(["mount", "-o", "loop", image, folder], ["umount", "--lazy", folder]):
        (folder / "lost+found").rmdir()
        yield folder
    image.unlink()


@contextlib.contextmanager
def loop(path):
    """A block device on that file; what is written to it is in the file once it is closed."""
    _run("losetup", "--find")
    device = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=True)
    try:
        yield device.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", device.stdout.strip()], check=True)


@contextlib.contextmanager
def partitions(path, count, megabytes):
    """(device, a node for each partition): so many of that size on a block device on a new file. The kernel is told of
    them by hand: it may read no partition tables."""
    sectors, nodes = megabytes * 2048, []
    with open(path, "wb") as file:
        file.truncate((count * megabytes + 2) << 20)
    with loop(path) as device:
        for number in range(1, count + 1):
            _run("addpart", device, number, 2048 + (number - 1) * sectors, sectors)
            name = f"{os.path.basename(device)}p{number}"
            told = pathlib.Path("/sys/class/block", name, "dev").read_text()
            nodes.append(path.with_name(name))
            os.mknod(nodes[-1], 0o600 | stat.S_IFBLK, os.makedev(*map(int, told.split(":"))))
        try:
            yield (device, *map(str, nodes))
        finally:
            for number in range(1, count + 1):
                _run("delpart", device, number)


@contextlib.contextmanager
def read_only(folder):
    """The folder, with all that is in it, as on a file system that is mounted read-only."""
    with _undone(["mount", "--bind", folder, folder], ["umount", "--lazy", folder]):
        _run("mount", "-o", "remount,ro,bind", folder)
        yield folder


def set_immutable(path, immutable=True):
    """In a folder that is immutable no file can be made or removed, not even by root."""
    _run("chattr", "+i" if immutable else "-i", path)


def fill(folder):
    """Leaves not a byte free. Returns the file to remove for some room."""
    filler = folder / "filler"
    for size in (1 << 16, 1 << 12, 1):
        with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    return filler


def occupy(folder, left):
    """All but about so many bytes; returns the file to remove for room."""
    filler = folder / "filler"
    with open(filler, "wb") as file:
        while (more := _room(folder) - left) > 0:
            with contextlib.suppress(OSError):  # what it could get it has got then
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_blocks * 512 + more)
    return filler


@contextlib.contextmanager
def _undone(words, back):
    _run(*words)
    try:
        yield
    finally:
        subprocess.run([str(word) for word in back], check=True)


def _run(name, *words):
    if os.geteuid():
        pytest.skip(f"{name} needs root")
    done = subprocess.run([program(name), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{name} does not work here: {done.stderr.strip()}")


def _room(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
