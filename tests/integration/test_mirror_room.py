"""Room for copies: counted before, and a file system that fills up on the way costs time, nothing else."""
import re

import pytest
from test_merge_room import RESERVE

from support import disks, process
from support.chains import assert_sound, fill, reads
from support.mirrors import assert_copied, leaves_nothing
from support.mounts import ext4, occupy
from support.proxy import Proxy


@pytest.fixture
def ctl(chainctl, tmp_path):
    (tmp_path / "conf").write_text(RESERVE)
    return chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})


@pytest.fixture
def small(tmp_path):
    with ext4(tmp_path / "small", megabytes=16) as folder:
        yield folder


@pytest.fixture
def vm(qemu, ctl, folder):
    """Two disks that hold 4 MiB each."""
    words, _ = disks.two(folder, "32M")
    vm = qemu(words, paused=False)
    disks.register(ctl, vm)
    for name in ("vda", "vdb"):
        fill(vm, name, 5, 0, 64)
    return vm


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_what_is_missing_is_named_before_anything_is_begun(vm, ctl, small, form):
    occupy(small, 7 << 20)
    with disks.unchanged(vm, small):
        message = ctl.fails(9, "mirror", "vm", "--to", small, "--format", form)["message"]
    missing = int(re.search(r"(\d+) bytes are missing", message)[1])
    assert 2 << 20 < missing < 5 << 20, "two copies of 4 MiB and their tables, beside 1 MiB that stays free, in 7 MiB"
    ctl.ok("mirror", "vm", "--to", small, "--format", form, "--disk", "vda")


def test_what_a_copy_holds_already_needs_no_room(vm, ctl, small, folder):
    ctl.ok("mirror", "vm", "--to", small)
    occupy(small, 4 << 20)
    ctl.ok("mirror", "vm", "--to", small, "--existing")
    for name in ("vda", "vdb"):
        assert_copied(folder / f"{name}.qcow2", small / f"{name}.qcow2")


def test_top_needs_room_for_the_top_alone(vm, ctl, small, folder):
    ctl.ok("snapshot", "vm", "one")
    occupy(small, 5 << 20)
    ctl.fails(9, "mirror", "vm", "--to", small)
    ctl.ok("mirror", "vm", "--to", small, "--sync", "top")


@pytest.mark.parametrize("goal, form", [("--finish", "qcow2"), ("--finish", "raw"), ("--pivot", "qcow2")])
def test_file_system_that_fills_up_stalls_the_copy_until_there_is_room(vm, ctl, small, folder, tmp_path, goal, form):
    filler = small / "filler"
    paths = {name: folder / f"{name}.qcow2" for name in ("vda", "vdb")}

    def fill_up(command, _):
        if command == "blockdev-mirror" and not filler.exists():
            occupy(small, 4096)

    with Proxy(tmp_path / "tap", vm.qmp, [], before=fill_up) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        started = ctl.start("mirror", "vm", "--to", small, goal, "--format", form, "--progress=json")
        stalled = lambda: {"nospace"} & {job["io-status"] for job in vm.monitor().execute("query-block-jobs")}  # noqa: E731
        process.wait_until(stalled, 60, "a job without room")
        fill(vm, "vda", 8, 65)
        reads(vm, "vda", *[5] * 64, 0, 8)
        assert started.poll() is None
        filler.unlink()
        out, err = started.communicate(timeout=60)
        assert started.returncode == 0, out + err
        assert '"no-room"' in out and '"stalled"' in err
        reads(vm, "vda", *[5] * 64, 0, 8)
        for name, path in paths.items():
            assert_copied(path, small / f"{name}.{form}", form)
        assert_sound(ctl, vm)


def test_copy_that_has_no_room_can_be_given_up(vm, ctl, small, tmp_path):
    filler = small / "filler"

    def fill_up(command, _):
        if command == "blockdev-mirror" and not filler.exists():
            occupy(small, 4096)

    with leaves_nothing(vm), Proxy(tmp_path / "tap", vm.qmp, [], before=fill_up) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        op = ctl.ok("mirror", "vm", "--to", small, "--detach")["op"]
        stalled = lambda: {"nospace"} & {job["io-status"] for job in vm.monitor().execute("query-block-jobs")}  # noqa: E731
        process.wait_until(stalled, 60, "a job without room")
        ctl.ok("job", "cancel", "vm", op)
    assert [path.name for path in small.iterdir()] == ["filler"]
