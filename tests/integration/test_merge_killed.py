"""QEMU killed while a merge is under way, and started again by `exec`, of a command line that is never edited: what the
guest had written is there, and one recovery is all that it takes. Read back by qemu-io, from the files."""

import pytest
from test_exec import WORDS

from support import disks, images
from support.chains import REGION, chained, fill, reads
from support.merges import held_up
from support.proxy import Proxy
from support.qemu import Qemu


class Again(Qemu):
    """Started by hand at first; by `chainctl exec` from the moment on at which it is given a `ctl`."""

    ctl = None

    def command_line(self, monitor_fd):
        if self.ctl is None:
            return super().command_line(monitor_fd)
        self.arguments = WORDS
        return [self.ctl.binary, "--state", self.ctl.state_dir, "exec", "vm", "--", *super().command_line(monitor_fd)]

    def start_again(self, ctl):
        self.ctl = ctl
        return self.start()


@pytest.fixture
def vm(folder):
    with Again(disks.two(folder)[0], paused=False) as made:
        yield made


def names(ctl):
    return [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]


def assert_settled(ctl, vm, *patterns):
    """Nothing is left to recover, the guest reads these, and writes more."""
    assert ctl.ok("recover", "vm")["recovered"] == []
    assert {one["state"] for one in ctl.ok("log", "vm")["operations"]} <= {"done", "undone", "failed"}
    assert ctl.ok("check", "vm")["problems"] == []
    assert vm.monitor().execute("query-jobs") == []
    for disk in ("vda", "vdb"):
        reads(vm, disk, *patterns)
        fill(vm, disk, 6, len(patterns))


def assert_in_files(ctl, vm, *patterns):
    """As assert_settled left it."""
    vm.kill()
    for disk in ("vda", "vdb"):
        path = ctl.ok("path", "vm", disk)["path"]
        for region, pattern in enumerate((*patterns, 6)):
            assert images.reads(path, pattern, region * REGION, REGION), (path, region)
        assert not images.check(path).get("corruptions") and not images.check(path)["check-errors"]


def test_killed_while_it_copies_it_goes_on_where_it_was(vm, chainctl, folder):
    ctl = chainctl()
    chained(ctl, vm, count=1)
    before = [ctl.ok("path", "vm", disk)["path"] for disk in ("vda", "vdb")]
    with held_up(ctl, vm, "commit", "vm", "--pivot", count=2) as held:
        for disk in ("vda", "vdb"):
            fill(vm, disk, 8, 4)
        vm.kill()
    assert held.result.status == 8, held.result
    vm.start_again(ctl)
    assert [vm.monitor().chain(disk)[0] for disk in ("vda", "vdb")] == before
    assert names(ctl) == [], "they are overwritten, or may be"
    assert_settled(ctl, vm, 1, 2, 3, 9, 8)
    assert_in_files(ctl, vm, 1, 2, 3, 9, 8)


def test_killed_when_all_was_copied_it_is_still_where_it_was(vm, chainctl):
    ctl = chainctl()
    chained(ctl, vm)
    before = [ctl.ok("path", "vm", disk)["path"] for disk in ("vda", "vdb")]
    assert {job["status"] for job in ctl.ok("commit", "vm")["jobs"]} == {"ready"}
    for disk in ("vda", "vdb"):
        fill(vm, disk, 8, 4)
    vm.kill()
    vm.start_again(ctl)
    assert [vm.monitor().chain(disk)[0] for disk in ("vda", "vdb")] == before
    assert_settled(ctl, vm, 1, 2, 3, 9, 8)
    assert_in_files(ctl, vm, 1, 2, 3, 9, 8)


@pytest.mark.parametrize("words, depth", [(("commit", "vm", "--top", "two"), 4), (("stream", "vm"), 4)], ids=["commit", "stream"])
def test_killed_while_it_copies_below_the_guest_nothing_changes(vm, chainctl, words, depth):
    ctl = chainctl()
    chained(ctl, vm)
    with held_up(ctl, vm, *words, count=2) as held:
        vm.kill()
    assert held.result.status == 8, held.result
    vm.start_again(ctl)
    assert len(vm.monitor().chain("vda")) == depth
    assert_settled(ctl, vm, 1, 2, 3, 9)
    assert_in_files(ctl, vm, 1, 2, 3, 9)


class Struck:
    """QEMU is killed before so many a command of that name reaches it."""

    def __init__(self, vm, folder, command, count=1):
        self.vm, self.command, self.left = vm, command, count
        self.path = folder / "tap"

    def proxy(self):
        return Proxy(self.path, self.vm.qmp, [], before=self.before)

    def before(self, command, _):
        self.left -= command == self.command
        if command == self.command and self.left == 0:
            self.vm.process.kill()
            self.vm.process.wait()


@pytest.mark.parametrize("command, count, moved", [("stop", 1, False), ("job-complete", 1, False), ("job-complete", 2, False),
                                                   ("cont", 1, True), ("job-dismiss", 1, True)])  # fmt: skip
def test_killed_at_the_pivot_all_disks_are_on_this_side_of_it_or_on_the_other(vm, chainctl, folder, tmp_path, command, count, moved):
    ctl, struck = chainctl(), Struck(vm, tmp_path, command, count)
    chained(ctl, vm)
    before = {disk: ctl.ok("path", "vm", disk)["path"] for disk in ("vda", "vdb")}
    with struck.proxy():
        ctl.ok("vm", "set", "vm", "--qmp", struck.path)
        result = ctl.run("commit", "vm", "--pivot")
    assert struck.left <= 0 and result.status in ((0, 8) if moved else (8, 10)), result
    vm.kill()
    vm.start_again(ctl)
    assert {disk: vm.monitor().chain(disk)[0] for disk in before} == (
        {disk: str(folder / f"{disk}.qcow2") for disk in before} if moved else before)  # fmt: skip
    with struck.proxy():
        assert_settled(ctl, vm, 1, 2, 3, 9)
    assert_in_files(ctl, vm, 1, 2, 3, 9)


def test_killed_after_the_pivot_it_goes_on_in_the_base(vm, chainctl, folder):
    ctl = chainctl()
    chained(ctl, vm)
    ctl.ok("commit", "vm", "--pivot")
    for disk in ("vda", "vdb"):
        fill(vm, disk, 8, 4)
    vm.kill()
    vm.start_again(ctl)
    assert [vm.monitor().chain(disk) for disk in ("vda", "vdb")] == [[str(folder / f"{disk}.qcow2")] for disk in ("vda", "vdb")]
    assert_settled(ctl, vm, 1, 2, 3, 9, 8)
    assert_in_files(ctl, vm, 1, 2, 3, 9, 8)


@pytest.mark.parametrize("words", [("commit", "vm", "--top", "three"), ("commit", "vm", "--top", "two"), ("stream", "vm")], ids=" ".join)
def test_killed_after_a_merge_below_the_guest_nothing_of_it_was_only_in_memory(vm, chainctl, words):
    """QEMU flushes a receiver that it has to open for writing, and none that is so already."""
    ctl = chainctl()
    chained(ctl, vm)
    chains = {disk: vm.monitor().chain(disk) for disk in ("vda", "vdb")}
    vm.kill()
    vm.arguments = [word for disk, chain in chains.items() for word in disks.layered(disk, chain)]
    vm.start()
    ctl.ok(*words)
    vm.kill()
    vm.start_again(ctl)
    assert_settled(ctl, vm, 1, 2, 3, 9)
    assert_in_files(ctl, vm, 1, 2, 3, 9)
