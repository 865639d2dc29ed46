"""A chain that is as the last run left it is not asked for again; whatever else has become of it is seen, and told."""
import pytest

from support import disks, images
from support.proxy import Proxy
from support.storage import StorageDaemon, blockdev

MIB = 1 << 20
ALL_OF_IT = {"query-named-block-nodes", "query-block", "query-blockstats"}  # takes QEMU long where chains are deep
SCSI = ["-device", "virtio-scsi-pci,id=scsi"]  # its disks come and go without a guest that agrees


@pytest.fixture
def vm(qemu, folder):
    """vda is a SCSI disk, vdb a virtio one, and there is a CD."""
    paths = {name: images.create(folder / f"{name}.qcow2", "8M") for name in ("vda", "vdb")}
    cd = images.create(folder / "cd.iso", "1M", "raw")
    return qemu([
        *SCSI, *disks.blockdev("vda", paths["vda"], device="scsi-hd", more="bus=scsi.0"),
        *disks.blockdev("cd", cd, "raw", device="scsi-cd", file="read-only=on", top="read-only=on", more="bus=scsi.0"),
        *disks.blockdev("vdb", paths["vdb"]),
    ])  # fmt: skip


class Tapped:
    """A chainctl whose words to QEMU are written down: `asked` has the commands of the last run."""

    def __init__(self, ctl, vm):
        self.ctl, self.vm, self.asked = ctl, vm, []

    def run(self, *words):
        log = []
        with Proxy(self.vm.folder / "tap", self.vm.qmp, log):
            result = self.ctl.run(*words)
        self.asked = [command for _, command in log]
        return result

    def add(self, *words):
        result = self.run("vm", "add", "vm", "--qmp", self.vm.folder / "tap", *words)
        assert result.status == 0, result

    def snapshot(self, name, *words, all_of_it, warned=()):
        """Taken, with those warnings and no others; whether QEMU was asked for all of its chains is as said."""
        result = self.run("snapshot", "vm", name, *words)
        assert result.status == 0 and self.warned(result) == set(warned), result
        self.assert_asked(all_of_it)
        return result.json

    def warned(self, result):
        """The codes of what was warned of, but that the command line of who listens at the tap is not QEMU's."""
        return {one["code"] for one in result.json["warnings"]} - {"options-unknown"}

    def assert_asked(self, all_of_it):
        asked = ALL_OF_IT & set(self.asked)
        assert "x-debug-query-block-graph" in self.asked
        assert "query-named-block-nodes" in asked if all_of_it else not asked, self.asked

    def refused(self, code, *parts):
        """The next snapshot is refused because of that problem, which check finds too, and nothing changes."""
        monitor = self.vm.monitor()
        before = disks.nodes(self.vm), monitor.execute("query-jobs"), self.snapshots()
        result = self.run("snapshot", "vm", "refused")
        assert result.status == 9 and result.json["error"]["code"] == "drift", result
        assert all(str(part) in result.json["error"]["message"] for part in parts), result
        self.assert_asked(True)
        assert (disks.nodes(self.vm), monitor.execute("query-jobs"), self.snapshots()) == before
        assert code in [one["code"] for one in self.run("check", "vm").json["problems"]]

    def snapshots(self):
        return [one["name"] for one in self.ctl.ok("list", "vm")["snapshots"]]

    def assert_at_peace(self):
        result = self.run("check", "vm")
        assert result.status == 0 and result.json["problems"] == [], result


@pytest.fixture
def tapped(chainctl, vm):
    """Two snapshots old: the chains are known."""
    tapped = Tapped(chainctl(), vm)
    tapped.add("--quiesce", "off")
    tapped.snapshot("one", all_of_it=True)
    tapped.snapshot("two", all_of_it=False)
    return tapped


def head(vm, disk="vda"):
    return disks.inserted(vm, disk)["node-name"]


def node_below(vm, node):
    """The name of the node that is the backing node of that one."""
    graph = vm.monitor().execute("x-debug-query-block-graph")
    names = {entry["id"]: entry["name"] for entry in graph["nodes"]}
    [below] = [names[edge["child"]] for edge in graph["edges"] if names[edge["parent"]] == node and edge["name"] == "backing"]
    return below


def add_node(vm, name, path, **options):
    vm.monitor().execute("blockdev-add", driver="file", node_name=f"{name}-file", filename=str(path))
    vm.monitor().execute_raw("blockdev-add", {"driver": "qcow2", "node-name": name, "file": f"{name}-file", **options})


def plug(vm, disk, node):
    vm.monitor().execute("device_add", driver="scsi-hd", id=disk, drive=node, bus="scsi.0")


def unplug(vm, disk):
    vm.monitor().execute("device_del", id=disk)
    vm.monitor().wait_event("DEVICE_DELETED", device=disk)


def test_chains_that_are_as_they_were_left_are_not_asked_for_again(tapped, vm, folder):
    for number in range(3, 6):
        said = tapped.snapshot(f"s{number}", all_of_it=False)
        assert [one["before"] for one in said["active"]] == [one["image"] for one in said["snapshot"]["disks"]]
    chain = [str(folder / f"vda.{name}.qcow2") for name in ("s5", "s4", "s3", "two", "one")]
    assert vm.monitor().chain("vda") == [*chain, str(folder / "vda.qcow2")]
    tapped.assert_at_peace()


def test_disk_of_its_own_is_known_beside_one_that_stays_behind(tapped):
    tapped.snapshot("three", "--disk", "vda", all_of_it=False)
    tapped.snapshot("four", "--disk", "vdb", all_of_it=False)
    assert len(tapped.snapshot("five", all_of_it=False)["snapshot"]["disks"]) == 2
    tapped.assert_at_peace()


def test_overlay_of_another_client_is_seen_and_taken_over_when_it_is_accepted(tapped, vm, folder):
    theirs = images.create(folder / "theirs.qcow2", None, backing=folder / "vda.two.qcow2", backing_fmt="qcow2")
    before = head(vm)
    add_node(vm, "theirs", theirs, backing=None)
    vm.monitor().execute("blockdev-snapshot", node=before, overlay="theirs")
    tapped.refused("wrong-active-image", theirs, folder / "vda.two.qcow2")
    assert tapped.run("vm", "rescan", "vm", "--accept").status == 0
    said = tapped.snapshot("three", all_of_it=True)
    assert said["snapshot"]["disks"][0]["image"] == str(theirs)
    tapped.snapshot("four", all_of_it=False)
    tapped.assert_at_peace()


@pytest.mark.parametrize("tidy", [False, True], ids=["its nodes stay", "its nodes go"])
def test_image_that_another_client_merged_away_below_the_active_one_is_seen(tapped, vm, folder, tidy):
    top = node_below(vm, head(vm))
    vm.monitor().execute("block-commit", job_id="theirs", device=head(vm), top_node=top, base_node="vda-format")
    vm.monitor().wait_event("BLOCK_JOB_COMPLETED", device="theirs")
    assert vm.monitor().chain("vda") == [str(folder / "vda.two.qcow2"), str(folder / "vda.qcow2")]
    if tidy:
        vm.monitor().execute("blockdev-del", node_name=top)
        assert str(folder / "vda.one.qcow2") not in [node["file"] for node in disks.nodes(vm).values()]
    tapped.refused("wrong-chain", folder / "vda.one.qcow2", folder / "vda.qcow2")


def test_resized_disk_gets_an_overlay_of_its_size_without_all_being_asked(tapped, vm, folder):
    vm.monitor().execute("block_resize", node_name=head(vm), size=16 * MIB)
    tapped.snapshot("three", all_of_it=False, warned=["resized"])
    assert images.info(folder / "vda.three.qcow2")["virtual-size"] == 16 * MIB
    assert images.info(folder / "vdb.three.qcow2")["virtual-size"] == 8 * MIB
    tapped.snapshot("four", all_of_it=False)
    tapped.assert_at_peace()


def test_disk_that_came_back_on_other_images_is_seen_even_where_all_names_are_the_same(tapped, vm, folder):
    """The names of the nodes, of the devices and of what lies under what: only the files are others."""
    chain = [(name, node["file"]) for name, node in disks.nodes(vm).items() if "/vda" in node["file"]]
    by_file = {path: [name for name, file in chain if file == path] for _, path in chain}
    active, below, base = (str(folder / name) for name in ("vda.two.qcow2", "vda.one.qcow2", "vda.qcow2"))
    formats = {path: next(name for name in names if disks.nodes(vm)[name]["drv"] == "qcow2") for path, names in by_file.items()}
    unplug(vm, "vda")
    for path in (active, below, base):
        vm.monitor().execute("blockdev-del", node_name=formats[path])
    vm.monitor().execute("blockdev-del", node_name="vda-file")
    other = None
    for path in (base, below, active):
        other = images.create(folder / f"other-{path.rpartition('/')[2]}", "8M", backing=other)
        [file] = [name for name in by_file[path] if name != formats[path]]
        vm.monitor().execute("blockdev-add", driver="file", node_name=file, filename=str(other))
        backing = {"backing": formats[below if path == active else base]} if path != base else {}
        vm.monitor().execute("blockdev-add", driver="qcow2", node_name=formats[path], file=file, **backing)
    plug(vm, "vda", formats[active])
    tapped.refused("wrong-active-image", other, active)


def test_device_that_another_client_put_on_another_image_is_seen(tapped, vm, folder):
    """The node that was its active image is still there, and unused."""
    theirs = images.create(folder / "theirs.qcow2", "8M")
    add_node(vm, "theirs", theirs)
    vm.monitor().execute("qom-set", path="/machine/peripheral/vda", property="drive", value="theirs")
    tapped.refused("wrong-active-image", theirs, folder / "vda.two.qcow2")


def test_filter_under_the_device_is_seen_and_stays(tapped, vm, folder):
    vm.monitor().execute_raw("object-add", {"qom-type": "throttle-group", "id": "slow", "limits": {"iops-total": 1000}})
    vm.monitor().execute("blockdev-add", driver="throttle", node_name="limit", throttle_group="slow", file=head(vm))
    vm.monitor().execute("qom-set", path="/machine/peripheral/vda", property="drive", value="limit")
    for name in ("three", "four"):
        tapped.snapshot(name, all_of_it=True)
        assert head(vm) == "limit" and vm.monitor().chain("vda")[0] == str(folder / f"vda.{name}.qcow2")
    tapped.assert_at_peace()


def test_filter_below_the_active_image_is_seen(tapped, vm, folder):
    """Between an image and its file, with the image's own name unchanged."""
    vm.monitor().execute_raw("object-add", {"qom-type": "throttle-group", "id": "slow", "limits": {"iops-total": 1000}})
    node = next(name for name, node in disks.nodes(vm).items() if node["file"] == str(folder / "vda.two.qcow2") and node["drv"] == "file")
    vm.monitor().execute("blockdev-add", driver="throttle", node_name="limit", throttle_group="slow", file=node)
    vm.monitor().execute("blockdev-reopen", options=[
        {"driver": "qcow2", "node-name": head(vm), "file": "limit", "backing": node_below(vm, head(vm))}])  # fmt: skip
    result = tapped.run("snapshot", "vm", "three")
    tapped.assert_asked(True)
    assert result.status == 9 and "filter" in result.json["error"]["message"], result
    assert tapped.snapshots() == ["one", "two"]


def test_new_disk_is_told_of_each_time_until_it_is_registered(tapped, vm, folder):
    add_node(vm, "new", images.create(folder / "vdc.qcow2", "4M"))
    plug(vm, "vdc", "new")
    for name in ("three", "four"):
        said = tapped.snapshot(name, all_of_it=True, warned=["disk-added"])
        assert [disk["disk"] for disk in said["snapshot"]["disks"]] == ["vda", "vdb"]
    assert tapped.run("vm", "rescan", "vm").status == 0
    assert len(tapped.snapshot("five", all_of_it=True)["snapshot"]["disks"]) == 3
    assert len(tapped.snapshot("six", all_of_it=False)["snapshot"]["disks"]) == 3
    tapped.assert_at_peace()


def test_new_disk_in_the_place_of_a_device_that_is_none_is_told_of(tapped, vm, folder):
    """As many devices as before."""
    unplug(vm, "cd")
    add_node(vm, "new", images.create(folder / "vdc.qcow2", "4M"))
    plug(vm, "vdc", "new")
    tapped.snapshot("three", all_of_it=True, warned=["disk-added"])


def test_disk_that_is_gone_is_missed(tapped, vm):
    unplug(vm, "vda")
    tapped.refused("disk-gone", "'vda'")


def test_node_of_ours_that_no_disk_uses_is_seen_until_it_is_gone(tapped, vm):
    name = f"{head(vm).rpartition('-')[0]}-99"
    vm.monitor().execute("blockdev-add", driver="null-co", node_name=name, size=MIB)
    tapped.refused("node-left-over", name)
    vm.monitor().execute("blockdev-del", node_name=name)
    tapped.snapshot("three", all_of_it=False)


def test_node_of_others_that_no_disk_uses_changes_nothing(tapped, vm):
    vm.monitor().execute("blockdev-add", driver="null-co", node_name="theirs", size=MIB)
    tapped.snapshot("three", all_of_it=False)


def test_qemu_that_was_started_anew_is_asked_once_for_all(tapped, vm, folder):
    vm.kill()
    vm.arguments = [*SCSI, *disks.blockdev("vda", folder / "vda.two.qcow2", device="scsi-hd", more="bus=scsi.0"),
                    *disks.blockdev("vdb", folder / "vdb.two.qcow2")]  # fmt: skip
    vm.start()
    tapped.snapshot("three", all_of_it=True)
    tapped.snapshot("four", all_of_it=False)
    tapped.assert_at_peace()


def test_rescan_in_between_does_no_harm(tapped, vm, folder):
    assert tapped.run("vm", "rescan", "vm", "--accept").status == 0
    assert tapped.run("snapshot", "vm", "three").status == 0
    tapped.snapshot("four", all_of_it=False)
    assert vm.monitor().chain("vda")[:2] == [str(folder / f"vda.{name}.qcow2") for name in ("four", "three")]
    tapped.assert_at_peace()


def test_ignored_disk_is_left_out_and_can_still_be_named(chainctl, vm):
    tapped = Tapped(chainctl(), vm)
    tapped.add("--quiesce", "off", "--ignore-disk", "vdb")
    for name, words, expected in (("one", [], ["vda"]), ("two", [], ["vda"]), ("three", ["--disk", "vdb"], ["vdb"]), ("four", [], ["vda"])):
        result = tapped.run("snapshot", "vm", name, *words)
        assert result.status == 0 and not tapped.warned(result), result
        assert [disk["disk"] for disk in result.json["snapshot"]["disks"]] == expected
    assert len(vm.monitor().chain("vda")) == 4 and len(vm.monitor().chain("vdb")) == 2
    tapped.assert_at_peace()


def test_dry_run_of_a_known_chain_changes_nothing_and_forgets_nothing(tapped, vm, folder):
    with disks.unchanged(vm, folder):
        assert tapped.run("snapshot", "vm", "three", "--dry-run").status == 0
    tapped.snapshot("three", all_of_it=False)


def test_daemons_node_that_somebody_exports_meanwhile_is_another_disk(chainctl, folder):
    with StorageDaemon(blockdev("w", images.create(folder / "w.qcow2", "8M"))) as daemon:
        tapped = Tapped(chainctl(), daemon)
        tapped.add()
        assert tapped.run("snapshot", "vm", "one").status == 0
        assert tapped.run("snapshot", "vm", "two").status == 0
        tapped.assert_asked(False)
        [top] = [name for name, file in daemon.files().items() if file == str(folder / "w.two.qcow2") and (name, "file") in daemon.edges()]
        daemon.monitor().execute("block-export-add", type="nbd", id="out", node_name=top, name="out", writable=True)
        tapped.refused("disk-gone", "'w'")
