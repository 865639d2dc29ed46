"""Chains of 200 images: going back and merging take a moment, not minutes, and nothing is lost on the way."""
import time

import pytest

from support import disks, images
from support.chains import REGION

DEPTH = 200
EVERY = 20  # so many images apart, one that was written to
A_MOMENT = 8  # seconds, on a machine that is busy; each takes about one


@pytest.fixture
def deep(qemu, chainctl, folder):
    """(vm, ctl): a chain of 200 images that was adopted; image n has the pattern of its number in region n."""
    for number in range(DEPTH):
        path, below = folder / f"{number:03}.qcow2", folder / f"{number - 1:03}.qcow2"
        backing = ["-u", "-b", below, "-F", "qcow2"] if number else []  # -u: it does not open all that lies below
        images.qemu_img("create", "-q", "-f", "qcow2", *backing, path, "16M")
        if number % EVERY == 0:
            images.write(path, f"write -P {number + 1} {number * REGION} {REGION}")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm, "--adopt")
    vm.qemu_io("vda", f"write -P 250 {DEPTH * REGION} {REGION}")
    return vm, ctl


def reads(vm, upto=DEPTH, now=250):
    """All that was written into the images below that one, and what is written now."""
    vm.qemu_io("vda", *(f"read -P {number + 1 if number < upto else 0} {number * REGION} {REGION}"
                        for number in range(0, DEPTH, EVERY)), f"read -P {now} {DEPTH * REGION} {REGION}")  # fmt: skip


def assert_well(ctl, vm):
    assert ctl.ok("check", "vm")["problems"] == []
    assert vm.monitor().execute("query-jobs") == []
    assert images.is_clean(ctl.ok("path", "vm", "vda")["path"])


def quickly(ctl, *words):
    begun = time.monotonic()
    done = ctl.ok(*words)
    assert time.monotonic() - begun < A_MOMENT, words
    return done


def test_going_back_in_a_deep_chain(deep):
    vm, ctl = deep
    snapshots = [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]
    assert len(snapshots) == DEPTH - 1
    for depth in (100, 1, DEPTH - 1):
        quickly(ctl, "rollback", "vm", snapshots[depth - 1], "--reset", "never")
        assert len(vm.monitor().chain("vda")) == depth + 1
        reads(vm, upto=depth, now=0)
        quickly(ctl, "rollback", "vm", "latest", "--reset", "never")
        reads(vm)
    assert_well(ctl, vm)


def test_streaming_in_a_deep_chain(deep):
    vm, ctl = deep
    snapshots = [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]
    quickly(ctl, "stream", "vm", "--top", snapshots[149], "--base", snapshots[49])
    quickly(ctl, "stream", "vm", "--base", "base")
    assert len(vm.monitor().chain("vda")) == 2
    reads(vm)
    quickly(ctl, "stream", "vm")
    reads(vm)
    assert_well(ctl, vm)


def test_committing_in_a_deep_chain(deep):
    vm, ctl = deep
    snapshots = [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]
    quickly(ctl, "commit", "vm", "--top", snapshots[149], "--base", snapshots[99])
    reads(vm)
    assert len(vm.monitor().chain("vda")) == DEPTH - 49
    quickly(ctl, "commit", "vm", "--pivot")
    assert len(vm.monitor().chain("vda")) == 1 and ctl.ok("list", "vm")["snapshots"] == []
    reads(vm)
    assert_well(ctl, vm)
