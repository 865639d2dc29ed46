"""Images with a bad place, by QEMU's blkdebug, under a merge of two disks: the command says which disk failed and why,
nothing that the guest wrote is lost, and once the image is well the same command does the rest."""
import json

import pytest

from support import disks, images
from support.chains import REGION, chained, reads
from support.proxy import Proxy

COUNT = 4  # regions of a pattern
PATTERNS = [pattern for pattern in (1, 2, 3, 9) for _ in range(COUNT)]
SECTOR = 512


def offset_of(path, region):
    """Where in the file itself that region's data lies."""
    begin = region * REGION
    for extent in json.loads(images.qemu_img("map", "-U", "--output=json", path)):
        if extent["depth"] == 0 and extent["data"] and extent["start"] <= begin < extent["start"] + extent["length"]:
            return extent["offset"] + begin - extent["start"]
    raise KeyError(region)


def rule(what, more=""):
    """Every read, or write, fails, or only that of one sector."""
    return f"inject-error.0.event={what}_aio,inject-error.0.iotype={what},inject-error.0.errno=5,inject-error.0.once=off{more}"


class Bad:
    """Two disks of three snapshots, and a QEMU in which an image of vdb's has a bad place."""

    def __init__(self, vm, ctl):
        self.vm, self.ctl = vm, ctl
        chained(ctl, vm, count=COUNT)
        self.restart()

    def live(self):
        """{disk: the files of its chain}, as QEMU tells them; what lies behind blkdebug it tells as JSON."""
        return {name: [json.loads(path[5:])["image"]["filename"] if path.startswith("json:") else path
                       for path in self.vm.monitor().chain(name)] for name in ("vda", "vdb")}  # fmt: skip

    def restart(self, bad=None, rule=""):
        """On what is active now; `bad` counts from the active image down."""
        self.chains = self.live()
        if self.vm.process:
            self.vm.kill()
        path = None if bad is None else self.chains["vdb"][bad]
        self.vm.arguments = disks.layered("vda", self.chains["vda"]) + disks.layered("vdb", self.chains["vdb"], path, rule)
        self.vm.start()

    def cannot_read(self, depth, region):
        offset = offset_of(self.chains["vdb"][depth], region)
        self.restart(depth, rule("read", f",inject-error.0.sector={offset // SECTOR}"))

    def cannot_write(self, depth):
        self.restart(depth, rule("write"))

    def fails(self, *words):
        """The document of what is done in part; the disk, and what QEMU said, are named."""
        result = self.ctl.run(*words)
        return self.assert_partly(result)

    def assert_partly(self, result):
        assert result.status == 10 and result.json["error"]["code"] == "partly", result
        assert "'vdb'" in result.json["error"]["message"] and "Input/output error" in result.json["error"]["message"]
        assert self.vm.monitor().execute("query-jobs") == []
        assert self.ctl.ok("check", "vm")["problems"] == []
        return result.json

    def assert_data(self, *, well=True):
        reads(self.vm, "vda", *PATTERNS)
        if well:
            reads(self.vm, "vdb", *PATTERNS)

    def assert_well_again(self, *words):
        """Without the bad place: all is there, and the merge is done."""
        self.restart()
        self.assert_data()
        assert self.ctl.ok("check", "vm")["problems"] == []
        self.ctl.ok(*words)
        self.assert_data()
        self.vm.monitor().execute("quit")
        self.vm.wait_exit()
        for disk in ("vda", "vdb"):
            path = self.ctl.ok("path", "vm", disk)["path"]
            assert all(images.reads(path, pattern, region * REGION, REGION) for region, pattern in enumerate(PATTERNS))
            assert images.is_clean(path)


@pytest.fixture
def bad(qemu, chainctl, folder):
    return Bad(qemu(disks.two(folder)[0], paused=False), chainctl())


def merged(document):
    return {merge["disk"]: merge["merged"] for merge in document["merges"]}


@pytest.mark.parametrize("words", [("commit", "vm", "--pivot"), ("commit", "vm")], ids=" ".join)
def test_active_commit_that_cannot_read_moves_no_disk(bad, words):
    bad.cannot_read(2, region=5)
    said = bad.fails(*words)
    assert merged(said) == {"vda": False, "vdb": False} and said["active"] == []
    assert bad.live() == bad.chains
    bad.assert_data(well=False)
    bad.assert_well_again("commit", "vm", "--pivot")


def test_active_commit_that_cannot_write_moves_no_disk(bad):
    bad.cannot_write(3)
    said = bad.fails("commit", "vm", "--pivot")
    assert merged(said) == {"vda": False, "vdb": False} and said["active"] == []
    bad.assert_data()
    bad.assert_well_again("commit", "vm", "--pivot")


def test_commit_below_a_snapshot_that_cannot_read_changes_no_disk(bad):
    bad.cannot_read(2, region=5)
    said = bad.fails("commit", "vm", "--top", "three")
    assert merged(said) == {"vda": False, "vdb": False} and bad.live() == bad.chains
    bad.assert_data(well=False)
    bad.assert_well_again("commit", "vm", "--top", "three")


def test_stream_that_cannot_read_changes_no_disk(bad):
    bad.cannot_read(2, region=5)
    said = bad.fails("stream", "vm")
    assert merged(said) == {"vda": False, "vdb": False} and bad.live() == bad.chains
    bad.assert_data(well=False)
    bad.assert_well_again("stream", "vm")


@pytest.mark.parametrize("words", [("commit", "vm", "--pivot"), ("commit", "vm", "--top", "three"), ("stream", "vm")], ids=" ".join)
def test_disk_that_is_still_copied_when_the_other_fails_is_left_as_it_was(bad, words):
    bad.cannot_read(2, region=5)
    said = bad.fails(*words, "--speed", "256K")
    assert merged(said) == {"vda": False, "vdb": False} and bad.live() == bad.chains
    bad.assert_data(well=False)
    bad.assert_well_again(*words)


@pytest.mark.parametrize("words", [("commit", "vm", "--pivot"), ("commit", "vm", "--top", "three"), ("stream", "vm")], ids=" ".join)
def test_second_disk_that_qemu_refuses_to_begin_with_ends_the_first(qemu, chainctl, folder, tmp_path, words):
    """Somebody else begins a job on it at the last moment."""
    vm, ctl, seen = qemu(disks.two(folder)[0], paused=False), chainctl(), []

    def before(command, _):
        if command in ("block-commit", "block-stream"):
            seen.append(command)
        if len(seen) == 2 and command == seen[0]:
            vm.monitor().execute("block-stream", job_id="theirs", device=disks.inserted(vm, "vdb")["node-name"], speed=1)

    chained(ctl, vm, count=COUNT)
    with Proxy(tmp_path / "tap", vm.qmp, [], before=before) as proxy:
        ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
        result = ctl.run(*words)
        assert result.status == 10 and result.json["error"]["code"] == "partly", result
        assert "'vdb'" in result.json["error"]["message"] and not any(merged(result.json).values())
        assert [job["id"] for job in vm.monitor().execute("query-jobs")] == ["theirs"]
        assert [len(vm.monitor().chain(name)) for name in ("vda", "vdb")] == [4, 4]
        vm.monitor().execute("block-job-cancel", device="theirs")
        vm.monitor().wait_event("BLOCK_JOB_CANCELLED")
        assert ctl.ok("check", "vm")["problems"] == []
        ctl.ok(*words)
        for name in ("vda", "vdb"):
            reads(vm, name, *PATTERNS)
        assert ctl.ok("check", "vm")["problems"] == []
