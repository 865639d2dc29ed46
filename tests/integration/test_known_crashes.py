"""What kills QEMU, by a bare command: 7.2 by each of these, 10.0 by some. We walk into none, and QEMU lives on."""
import contextlib

import pytest

from support import disks, images
from support.chains import assert_sound, chained, reads
from support.proxy import Proxy

SUBCLUSTERS_STREAM_SINCE = 10  # the major version


@pytest.fixture
def one(qemu, chainctl, folder):
    """(vm, ctl): one disk with three snapshots."""
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    chained(ctl, vm, ["vda"])
    return vm, ctl


def assert_lives(vm):
    assert vm.process.poll() is None and vm.monitor().execute("query-status")["running"]


# A stream onto an image with subclusters of which some are written to: abort; not in 10.0.


def test_image_with_subclusters_is_streamed_onto_only_where_qemu_can(qemu, chainctl, folder, tmp_path):
    (tmp_path / "conf").write_text("[overlay]\nextended_l2=on\n")
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
    chained(ctl, vm, ["vda"])
    vm.qemu_io("vda", "write -P 8 0 2k", "write -P 8 128k 2k")
    for words in (("stream", "vm", "--top", "three", "--base", "base"), ("stream", "vm", "--base", "base"), ("stream", "vm")):
        if vm.version[0] < SUBCLUSTERS_STREAM_SINCE:
            with disks.unchanged(vm, folder):
                assert "subclusters" in ctl.fails(9, *words)["message"]
        else:
            ctl.ok(*words)
    vm.qemu_io("vda", "read -P 8 0 2k", "read -P 1 2k 62k", "read -P 2 64k 64k", "read -P 8 128k 2k", "read -P 3 130k 62k")
    assert_lives(vm)


# A stream that has concluded and was not dismissed, and a question for the block nodes: SIGSEGV; not in 10.0.


@pytest.mark.parametrize("words", [(), ("--base", "base"), ("--top", "three", "--base", "base")], ids=" ".join)
def test_stream_of_ours_is_gone_when_it_ends_and_anybody_may_ask(one, words):
    vm, ctl = one
    ctl.ok("stream", "vm", *words)
    disks.nodes(vm)
    reads(vm, "vda", 1, 2, 3, 9)
    assert_sound(ctl, vm)


def test_stream_of_ours_that_failed_or_was_cancelled_is_gone_too(one):
    vm, ctl = one
    op = ctl.ok("stream", "vm", "--detach", "--speed", "1")["op"]
    ctl.ok("job", "cancel", "vm", op)
    disks.nodes(vm)
    op = ctl.ok("stream", "vm", "--detach", "--speed", "1")["op"]
    [job] = ctl.ok("jobs", "vm")["jobs"]
    vm.monitor().execute("block-job-cancel", device=job["job"], force=True)
    vm.monitor().wait_event("BLOCK_JOB_CANCELLED")
    disks.nodes(vm)
    ctl.run("job", "wait", "vm", op)
    assert_sound(ctl, vm)


READING = [("check", "vm"), ("tree", "vm"), ("list", "vm"), ("jobs",), ("jobs", "vm"), ("doctor", "vm"), ("vm", "show", "vm"),
           ("vm", "rescan", "vm"), ("path", "vm", "vda"), ("recover", "vm")]  # fmt: skip
CHANGING = [("snapshot", "vm", "s"), ("rollback", "vm", "one", "--reset", "never"), ("commit", "vm", "--pivot"), ("stream", "vm"),
            ("vm", "rescan", "vm", "--accept")]  # fmt: skip


@pytest.mark.parametrize("words", [*READING, *CHANGING], ids=" ".join)
def test_concluded_stream_of_somebody_else_is_not_walked_into(one, words):
    vm, ctl = one
    node = disks.inserted(vm, "vda")["node-name"]
    vm.monitor().execute("block-stream", job_id="theirs", device=node, auto_dismiss=False)
    vm.monitor().wait_event("JOB_STATUS_CHANGE", status="concluded", id="theirs")
    result = ctl.run(*words)
    assert result.status in ((0, 7, 9) if words in READING else (9,)), result
    assert_lives(vm)
    vm.monitor().execute("job-dismiss", id="theirs")
    reads(vm, "vda", 1, 2, 3, 9)


# qom-set of the node on which the device is already: abort.


def test_device_is_never_moved_to_the_node_that_it_is_on(one, tmp_path):
    vm, ctl = one
    moved = []

    def before(command, document):
        if command == "qom-set":
            moved.append((disks.inserted(vm, "vda")["node-name"], document["arguments"]["value"]))

    with Proxy(tmp_path / "tap", vm.qmp, [], before=before) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        for snapshot in ("three", "three", "one", "latest", "latest"):
            ctl.ok("rollback", "vm", snapshot, "--reset", "never")
    assert len(moved) == 5 and all(before != after for before, after in moved), moved
    assert_lives(vm)


# A block-commit below the active image that cannot change the header above at its end: SIGSEGV.


def test_commit_whose_name_no_header_can_take_is_refused(qemu, chainctl, tmp_path):
    """The images name each other without a folder, as qemu-img lets them; a commit writes the whole path."""
    folder = tmp_path
    while len(str(folder)) < 1024:
        folder = folder / ("d" * 100)
        folder.mkdir()
    below = None
    with contextlib.chdir(folder):
        for name in ("a", "b", "c", "d"):
            images.create(f"{name}.qcow2", "8M", backing=below and f"{below}.qcow2", backing_fmt="qcow2")
            below = name
        vm, ctl = qemu(disks.blockdev("vda", "d.qcow2"), paused=False), chainctl()
    disks.register(ctl, vm, "--adopt")
    with disks.unchanged(vm, folder):
        assert "longer" in ctl.fails(9, "commit", "vm", "--top", ctl.ok("list", "vm")["snapshots"][1]["name"])["message"]
    assert_lives(vm)
