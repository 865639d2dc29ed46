"""Copies of live disks: what a test fills, compares, and looks for when a mirror is over.

A copy is held against its source by qemu-img, block by block, while the guest writes nothing; the source stays locked by
the QEMU that runs it.
"""
import contextlib
import subprocess
import threading
import time

from support import disks, images, process
from support.chains import REGION, fill

PACE = 0.025  # seconds between two numbers: 200 of them last longer than a copy
KEYS = {"schema", "command", "ok", "warnings", "mirrors", "consistency", "reason", "active", "automatic_snapshot",
        "frozen_us", "paused_us"}  # fmt: skip


def data_differs(source, copy, copy_format=None):
    """The first difference in what a guest would read, or nothing; holes and zeroes are the same."""
    formats = ["-f", images.info(source)["format"], "-F", copy_format or images.info(copy)["format"]]
    words = [process.program("qemu-img"), "compare", "-U", *formats, str(source), str(copy)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1), f"{words}: {done.stdout}{done.stderr}"
    return "" if done.returncode == 0 else done.stdout


def assert_copied(source, copy, copy_format=None):
    assert data_differs(source, copy, copy_format) == "", f"{copy} is no copy of {source}"


def allocated(path):
    return images.info(path)["actual-size"]


def traces(vm):
    """All that a mirror could leave in QEMU: nodes, jobs, objects."""
    monitor = vm.monitor()
    objects = sorted(entry["name"] for entry in monitor.execute("qom-list", path="/objects"))
    return disks.nodes(vm), monitor.execute("query-jobs"), objects


@contextlib.contextmanager
def leaves_nothing(vm):
    """QEMU has the same nodes, jobs and objects behind the block as before it, and the guest still runs."""
    before = traces(vm)
    yield
    assert traces(vm) == before
    assert vm.monitor().execute("query-status")["status"] == "running"


def await_block_jobs(vm, check, what, timeout=60):
    """Until check(list of query-block-jobs) is true."""
    return process.wait_until(lambda: check(vm.monitor().execute("query-block-jobs")), timeout, what)


def await_progress(vm, count=1):
    """Until so many mirrors have moved something and are still at it."""
    moving = lambda jobs: len([job for job in jobs if job["type"] == "mirror" and job["offset"] > 0]) == count  # noqa: E731
    await_block_jobs(vm, moving, f"{count} mirrors to move something")


class Writer:
    """A guest that counts: n to the one disk, made durable, then n to the other, and so on, until it is stopped.

    Disks of one instant hold n and n, or n and n-1. The number is the byte, from 1 to 200, and stands in a region of its
    own for each: what region r reads says whether r was written."""

    def __init__(self, vm, names, first=4, most=200, stride=1):
        self.vm, self.names, self.first, self.most, self.stride = vm, names, first, most, stride
        self.written, self.failure = 0, None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        self._thread.join(60)
        assert not self.failure, self.failure

    def await_written(self, count, timeout=60):
        process.wait_until(lambda: self.written >= count or self.failure, timeout, f"{count} writes")
        assert not self.failure, self.failure

    def _run(self):
        try:
            for number in range(1, self.most + 1):
                if self._stop.is_set():
                    return
                for name in self.names:
                    fill(self.vm, name, number, self.first + (number - 1) * self.stride)
                self.written = number
                self._stop.wait(PACE)
        except Exception as error:  # noqa: BLE001: told by stop()
            self.failure = error


class Pulse:
    """Asks QEMU for its status again and again, in a thread: `slowest` is the longest that it did nothing else for, in
    seconds. While it stands still, so does a guest that writes. Nobody else may use the test's monitor meanwhile."""

    def __init__(self, vm):
        self.vm, self.slowest = vm, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        while not self._stop.wait(PACE):
            begun = time.monotonic()
            self.vm.monitor().execute("query-status", timeout=60)
            self.slowest = max(self.slowest, time.monotonic() - begun)


def last_number(path, first=4, most=200, stride=1, form=None):
    """How far a Writer had come when this copy ended; every number up to it is there, and none after it."""
    form = form or images.info(path)["format"]
    raw = images.to_raw(path, f"{path}.raw-of-it", form)
    with open(raw, "rb") as file:
        def pattern(number):
            file.seek((first + (number - 1) * stride) * REGION)
            found = set(file.read(REGION))
            assert len(found) == 1, f"{path}: region of number {number} holds {found}"
            return found.pop()

        numbers = [pattern(number) for number in range(1, most + 1)]
    last = len([number for number in numbers if number])
    assert numbers == [*range(1, last + 1), *[0] * (most - last)], f"{path}: {numbers}"
    return last
