"""A stdout that cannot be written: the exit status is not 0, and tells whether something was changed."""
import contextlib
import os

import pytest

CHANGED, UNCHANGED = 10, 1


@contextlib.contextmanager
def full():
    with open("/dev/full", "w", encoding="utf-8") as device:
        yield device


@contextlib.contextmanager
def without_reader():
    """As of `chainctl … | head -0`."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        yield writes
    finally:
        os.close(writes)


def status(vm, stdout, *words, json_output):
    with stdout() as where:
        started = vm.chainctl.start(*words, stdout=where, json_output=json_output)
        said = started.communicate(timeout=60)[1]
    assert "writing to stdout" in said
    assert ("all was done" in said) == (started.returncode == CHANGED), said
    return started.returncode


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "text"])
@pytest.mark.parametrize("stdout", [full, without_reader])
def test_what_is_done_is_not_said_to_have_changed_nothing(vm, stdout, json_output):
    assert status(vm, stdout, "snapshot", "vm1", "s", json_output=json_output) == CHANGED
    assert [entry["name"] for entry in vm.chainctl.ok("list", "vm1")["snapshots"]] == ["s"]
    assert status(vm, stdout, "snapshot", "vm1", "t", "--dry-run", json_output=json_output) == UNCHANGED
    for words in (["list", "vm1"], ["check", "vm1"], ["snapshot", "--help"]):
        assert status(vm, stdout, *words, json_output=json_output) == UNCHANGED


def test_a_failure_keeps_its_own_status(vm):
    with full() as where:
        started = vm.chainctl.start("snapshot", "nobody", "s", stdout=where)
        started.communicate(timeout=60)
    assert started.returncode == 3
