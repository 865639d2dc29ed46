"""Room: what a merge needs is counted before, and a file system that fills up on the way costs time, nothing else."""
import re

import pytest

from support import disks, images, process
from support.chains import assert_sound, fill, reads
from support.mounts import ext4, occupy
from support.proxy import Proxy

RESERVE = "[space]\nreserve = 1M\n"


@pytest.fixture
def ctl(chainctl, tmp_path):
    (tmp_path / "conf").write_text(RESERVE)
    return chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})


@pytest.fixture
def small(tmp_path):
    with ext4(tmp_path / "small", megabytes=16) as folder:
        yield folder


@pytest.fixture
def vm(qemu, ctl, folder, small):
    """Two disks whose bases are in the small file system and whose overlays, 4 MiB each, are not."""
    paths = {name: images.create(small / f"{name}.qcow2", "32M") for name in ("vda", "vdb")}
    vm = qemu([word for name, path in paths.items() for word in disks.blockdev(name, path)], paused=False)
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one", "--dir", folder)
    for name in paths:
        fill(vm, name, 5, 0, 64)
    return vm


def test_what_is_missing_is_named_before_anything_is_begun(vm, ctl, small, folder):
    occupy(small, 7 << 20)
    with disks.unchanged(vm, folder):
        message = ctl.fails(9, "commit", "vm", "--pivot")["message"]
    missing = int(re.search(r"(\d+) bytes are missing", message)[1])
    assert 2 << 20 < missing < 5 << 20, "two disks of 4 MiB and their tables, beside 1 MiB that stays free, in 7 MiB"
    assert len(ctl.ok("list", "vm")["snapshots"]) == 1


def test_one_disk_alone_has_room_where_both_have_not(vm, ctl, small):
    occupy(small, 7 << 20)
    ctl.ok("commit", "vm", "--disk", "vda", "--pivot")
    reads(vm, "vda", *[5] * 64)
    assert_sound(ctl, vm)


def test_what_the_receiver_holds_already_needs_no_room(vm, ctl, small):
    ctl.ok("commit", "vm", "--pivot")
    ctl.ok("snapshot", "vm", "two", "--dir", small.parent / "images")
    for name in ("vda", "vdb"):
        fill(vm, name, 6, 0, 64)
    occupy(small, 4 << 20)
    ctl.ok("commit", "vm", "--pivot")
    reads(vm, "vda", *[6] * 64)
    assert_sound(ctl, vm)


@pytest.mark.parametrize("words", [("--pivot",), ("--top", "two")])
def test_file_system_that_fills_up_stalls_the_commit_until_there_is_room(vm, ctl, small, folder, tmp_path, words):
    ctl.ok("snapshot", "vm", "two", "--dir", folder)
    filler = small / "filler"

    def fill_up(command, _):
        if command == "block-commit" and not filler.exists():
            occupy(small, 4096)

    with Proxy(tmp_path / "tap", vm.qmp, [], before=fill_up) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        started = ctl.start("commit", "vm", *words, "--progress=json")
        stalled = lambda: {"nospace"} & {job["io-status"] for job in vm.monitor().execute("query-block-jobs")}  # noqa: E731
        process.wait_until(stalled, 60, "a job without room")
        fill(vm, "vda", 8, 65)
        reads(vm, "vda", *[5] * 64)
        assert started.poll() is None
        filler.unlink()
        out, err = started.communicate(timeout=60)
        assert started.returncode == 0, out + err
        assert '"no-room"' in out and '"stalled"' in err
        reads(vm, "vda", *[5] * 64, 0, 8)
        assert_sound(ctl, vm)


def test_stream_needs_room_too(qemu, ctl, small, folder):
    path = images.create(folder / "vda.qcow2", "32M")
    vm = qemu(disks.blockdev("vda", path), paused=False)
    disks.register(ctl, vm)
    fill(vm, "vda", 5, 0, 128)
    ctl.ok("snapshot", "vm", "one", "--dir", small)
    occupy(small, 6 << 20)
    with disks.unchanged(vm, folder):
        assert "bytes are missing" in ctl.fails(9, "stream", "vm")["message"]
