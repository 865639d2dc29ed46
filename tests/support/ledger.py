"""Reads what the guest's ledger wrote, from the outside: qemu-img, debugfs, dumpe2fs and e2fsck, never a mount.

The guest writes number n to its first disk, waits until it is durable, then n to the next. Images of one point in
time therefore end in n and n, or n and n-1. An image taken without a freeze needs `replay=True`: e2fsck brings a
copy of it to where its journal leads, as the kernel would.
"""
import contextlib
import pathlib
import re
import subprocess
import tempfile
import zlib

from support import images
from support.process import program

RECORD_SIZE = 64
RECORD = re.compile(rb"(ledger (\d{12}) epoch [0-9a-f]{8} )sum ([0-9a-f]{8}) \.+\n")


def read(image, replay=False):
    """The last number in the image's ledger, after proving every record whole and none missing."""
    return len(records(image, replay))


def records(image, replay=False):
    """The image's ledger as a list of numbers, which is 1, 2, 3 and so on, or an error."""
    with _raw_copy(image) as raw:
        if replay:
            status = subprocess.run([program("e2fsck"), "-fy", raw], capture_output=True, timeout=100).returncode
            assert status in (0, 1), f"{image}: e2fsck cannot repair it (exit {status})"
        out = raw.parent / "ledger"
        command = [program("debugfs"), "-R", f"dump /ledger {out}", raw]
        subprocess.run(command, capture_output=True, check=True, timeout=100)
        return parse(out.read_bytes() if out.exists() else b"", image)


def parse(text, name="ledger"):
    """The numbers in a ledger's bytes; an AssertionError says which record is not as it should be."""
    assert len(text) % RECORD_SIZE == 0, f"{name}: ends inside record {len(text) // RECORD_SIZE + 1}"
    numbers = []
    for start in range(0, len(text), RECORD_SIZE):
        expected = start // RECORD_SIZE + 1
        record = RECORD.fullmatch(text[start : start + RECORD_SIZE])
        assert record, f"{name}: record {expected} is garbage: {text[start : start + RECORD_SIZE]!r}"
        assert zlib.crc32(record[1]) == int(record[3], 16), f"{name}: record {expected} has a wrong sum"
        assert int(record[2]) == expected, f"{name}: record {expected} says {int(record[2])}"
        numbers.append(expected)
    return numbers


def filesystem_state(image):
    """{"needs_recovery": bool, "clean": bool, "fsck": exit status of e2fsck -fn}; 0 is a file system without fault."""
    with _raw_copy(image) as raw:
        head = subprocess.run([program("dumpe2fs"), "-h", raw], capture_output=True, text=True, timeout=100).stdout
        fsck = subprocess.run([program("e2fsck"), "-fn", raw], capture_output=True, timeout=100).returncode
    features = re.search(r"^Filesystem features:(.*)$", head, re.MULTILINE)
    assert features, f"{image}: holds no ext4"
    state = re.search(r"^Filesystem state:\s*(.*)$", head, re.MULTILINE)[1]
    return {"needs_recovery": "needs_recovery" in features[1], "clean": state == "clean", "fsck": fsck}


def assert_atomic(*disks, replay=False):
    """The images, in guest order, are one point in time. Returns the first one's last number, which is not 0."""
    last = [read(image, replay) for image in disks]
    assert last[0] > 0, f"{disks[0]}: the ledger is empty"
    assert all(one >= next_one for one, next_one in zip(last, last[1:])), f"not one point in time: {last}"
    assert last[0] - last[-1] <= 1, f"not one point in time: {last}"
    return last[0]


def assert_quiesced(*disks):
    """assert_atomic, and every file system is as a freeze leaves it: without fault, its journal empty."""
    for image in disks:
        state = filesystem_state(image)
        assert state == {"needs_recovery": False, "clean": True, "fsck": 0}, f"{image}: {state}"
    return assert_atomic(*disks)


@contextlib.contextmanager
def _raw_copy(image):
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        yield images.to_raw(image, pathlib.Path(folder) / "raw")
