"""A qemu-storage-daemon is a VM without a guest: its exports are disks, snapshotted while clients go on to write."""
import json
import subprocess

import pytest

from support import disks, images
from support.process import program
from support.storage import StorageDaemon, blockdev, export


@pytest.fixture
def daemon():
    """daemon([words]) starts a StorageDaemon."""
    made = []

    def start(words):
        made.append(StorageDaemon(words))
        return made[-1].start()

    yield start
    for one in made:
        one.close()


@pytest.fixture
def golden(folder):
    """An image to stand on, read by all."""
    path = images.create(folder / "golden.qcow2", "8M")
    images.write(path, "write -P 9 0 64k")
    return path


@pytest.fixture
def web(daemon, folder, golden):
    """A daemon that exports "web", on the golden image, and "data", a raw file."""
    web = images.create(folder / "web.qcow2", None, backing=golden)
    data = images.create(folder / "data.raw", "4M", "raw")
    return daemon([*blockdev("w", web), *export("web", "w"), *blockdev("d", data, "raw"), *export("data", "d")])


def add(ctl, daemon, name="q", *words):
    return ctl.ok("vm", "add", name, "--qmp", daemon.qmp, *words)["vm"]


def nodes(daemon):
    return daemon.monitor().execute("query-named-block-nodes", flat=True)


def problems(ctl, name="q"):
    return ctl.ok("check", name)["problems"]


def assert_reads(path, *commands):
    """The image and all below it, read by qemu-io once nobody writes to it."""
    options = [word for command in commands for word in ("-c", command)]
    done = subprocess.run([program("qemu-io"), "-U", "-r", *options, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr


def test_exports_are_disks_without_a_guest_or_a_uuid(chainctl, web, folder):
    vm = add(chainctl(), web)
    assert vm["uuid"] is None and vm["agent"] is None and vm["state"] == "running"
    assert [(disk["disk"], disk["path"], disk["format"]) for disk in vm["disks"]] == [
        ("web", str(folder / "web.qcow2"), "qcow2"), ("data", str(folder / "data.raw"), "raw")]  # fmt: skip


def test_two_snapshots_freeze_what_clients_had_written(chainctl, web, folder, golden, tmp_path):
    ctl, digest = chainctl(), images.sha256(golden)
    add(ctl, web)
    web.qemu_io("web", "write -P 1 64k 64k")
    web.qemu_io("data", "write -P 2 0 64k")
    one = ctl.ok("snapshot", "q", "one")["snapshot"]
    assert one["consistency"] == "crash" and one["frozen_us"] is None
    seen = {name: images.to_raw(web.uri(name), tmp_path / name, "raw") for name in ("web", "data")}
    web.qemu_io("web", "write -P 3 0 128k")
    web.qemu_io("data", "write -P 4 0 64k")
    ctl.ok("snapshot", "q", "two")
    web.qemu_io("web", "read -P 3 0 128k", "write -P 5 0 64k")
    assert web.chain("web") == [str(folder / name) for name in
                                ("web.two.qcow2", "web.one.qcow2", "web.qcow2", "golden.qcow2")]  # fmt: skip
    assert web.chain("data") == [str(folder / name) for name in ("data.two.qcow2", "data.one.qcow2", "data.raw")]
    for disk in one["disks"]:
        assert images.compare(disk["image"], seen[disk["disk"]])
    assert images.sha256(golden) == digest
    assert problems(ctl) == []
    trees = {tree["disk"]: tree for tree in ctl.ok("tree", "q")["disks"]}
    assert [(image["path"].rpartition("/")[2], image["state"]) for image in trees["web"]["images"]] == [
        ("golden.qcow2", "foreign"), ("web.qcow2", "backing"), ("web.one.qcow2", "backing"), ("web.two.qcow2", "active")]  # fmt: skip
    web.kill()
    assert_reads(folder / "web.one.qcow2", "read -P 3 0 128k")
    assert_reads(folder / "web.two.qcow2", "read -P 5 0 64k", "read -P 3 64k 64k")
    assert_reads(folder / "data.two.qcow2", "read -P 4 0 64k")


def test_clients_that_are_connected_notice_nothing(chainctl, web):
    """One connection writes, the snapshot is taken, and the same connection writes on."""
    ctl = chainctl()
    add(ctl, web)
    words = [program("qemu-io"), "-f", "raw", web.uri("web")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        client.stdin.write("write -P 7 0 64k\n")
        client.stdin.flush()
        assert "wrote 65536" in client.stdout.readline()
        ctl.ok("snapshot", "q", "one")
        said, _ = client.communicate("write -P 8 64k 64k\nread -P 7 0 64k\nread -P 8 64k 64k\nflush\n", timeout=30)
    assert client.returncode == 0 and "failed" not in said, said
    web.qemu_io("web", "read -P 7 0 64k", "read -P 8 64k 64k")


def test_throttle_filter_stays_above_every_overlay(chainctl, daemon, folder):
    path = images.create(folder / "slow.qcow2", "8M")
    limit = {"driver": "throttle", "node-name": "limit", "throttle-group": "group", "file": "s"}
    served = daemon([*blockdev("s", path), "--object", "throttle-group,id=group,x-iops-total=500",
                     "--blockdev", json.dumps(limit), *export("slow", "limit")])  # fmt: skip
    ctl = chainctl()
    assert [disk["disk"] for disk in add(ctl, served)["disks"]] == ["slow"]
    for name in ("one", "two"):
        ctl.ok("snapshot", "q", name)
        served.qemu_io("slow", "write -P 1 0 64k", "read -P 1 0 64k")
    exports = served.monitor().execute("query-block-exports")
    assert [entry["node-name"] for entry in exports] == ["limit"]
    assert served.files()[served.edges()["limit", "file"]] == str(folder / "slow.two.qcow2")
    assert served.chain("slow") == [str(folder / name) for name in ("slow.two.qcow2", "slow.one.qcow2", "slow.qcow2")]
    assert problems(ctl) == []


def test_uppermost_node_that_is_not_exported_is_a_disk_of_its_name(chainctl, daemon, folder):
    path = images.create(folder / "root.qcow2", "8M")
    served, ctl = daemon(blockdev("root", path)), chainctl()
    assert [disk["disk"] for disk in add(ctl, served)["disks"]] == ["root"]
    for name in ("one", "two"):
        ctl.ok("snapshot", "q", name)
        assert [disk["disk"] for disk in ctl.ok("vm", "show", "q")["vm"]["disks"]] == ["root"]
    assert images.info(folder / "root.two.qcow2")["backing-filename"] == str(folder / "root.one.qcow2")
    assert problems(ctl) == []


def test_export_that_is_added_later_leaves_the_disks_as_they_are(chainctl, web):
    ctl = chainctl()
    add(ctl, web)
    more = {"type": "nbd", "id": "more", "node-name": "w", "name": "more"}
    web.monitor().execute_raw("block-export-add", more)
    ctl.ok("snapshot", "q", "one")
    assert [disk["disk"] for disk in ctl.ok("vm", "show", "q")["vm"]["disks"]] == ["web", "data"]
    assert problems(ctl) == []


def test_daemon_that_is_started_again_on_its_active_images_goes_on(chainctl, web, folder):
    ctl = chainctl()
    add(ctl, web)
    ctl.ok("snapshot", "q", "one")
    web.qemu_io("web", "write -P 3 0 64k")
    web.kill()
    active = {name: ctl.ok("path", "q", name)["path"] for name in ("web", "data")}
    web.arguments = [*blockdev("w", active["web"]), *export("web", "w"),
                     *blockdev("d", active["data"]), *export("data", "d")]  # fmt: skip
    web.start()
    web.qemu_io("web", "read -P 3 0 64k")
    ctl.ok("snapshot", "q", "two")
    assert problems(ctl) == []


def test_daemon_that_is_started_again_on_the_frozen_image_is_drift(chainctl, web, folder):
    ctl = chainctl()
    add(ctl, web)
    ctl.ok("snapshot", "q", "one")
    web.kill()
    web.start()
    before = sorted(folder.iterdir())
    error = ctl.fails(9, "snapshot", "q", "two")
    assert error["code"] == "drift" and str(folder / "web.qcow2") in error["message"]
    assert ctl.run("path", "q", "web", json_output=False).out == ""
    ctl.fails(7, "check", "q")
    assert sorted(folder.iterdir()) == before


def test_machine_behind_the_socket_of_a_storage_daemon_is_another_vm(chainctl, web, qemu, folder):
    """It answers query-status, which no storage daemon does, and has none of its disks."""
    ctl = chainctl()
    add(ctl, web)
    web.kill()
    vm = qemu()
    web.qmp.unlink(missing_ok=True)
    web.qmp.symlink_to(vm.qmp)
    assert ctl.fails(9, "snapshot", "q", "one")["code"] == "drift"
    assert not list(folder.glob("*.one*"))


def test_storage_daemon_behind_the_socket_of_a_machine_is_another_vm(chainctl, qemu, web, folder):
    ctl, vm = chainctl(), qemu(disks.two(folder)[0], uuid="5f0d8d3c-26d2-4b0e-9a55-0f1f1e1d2c3b")
    ctl.ok("vm", "add", "vm", "--qmp", vm.qmp)
    vm.kill()
    vm.qmp.unlink(missing_ok=True)
    vm.qmp.symlink_to(web.qmp)
    assert "storage daemon" in ctl.fails(9, "snapshot", "vm", "one")["message"]
    assert not list(folder.glob("*.one*"))


def test_freeze_that_is_required_cannot_be_had_of_a_storage_daemon(chainctl, web, folder):
    ctl = chainctl()
    add(ctl, web)
    ctl.fails(5, "snapshot", "q", "one", "--quiesce", "require")
    assert not list(folder.glob("*.one*"))
    assert ctl.ok("list", "q")["snapshots"] == []


def test_dry_run_on_a_storage_daemon_changes_nothing(chainctl, web, folder):
    ctl = chainctl()
    add(ctl, web)
    before = web.files(), {path: images.sha256(path) for path in folder.iterdir()}
    assert ctl.ok("--dry-run", "snapshot", "q", "one")["plan"]
    assert (web.files(), {path: images.sha256(path) for path in folder.iterdir()}) == before


@pytest.mark.parametrize("words", [("stream", "q", "--base", "none"), ("commit", "q", "--top", "two")], ids=" ".join)
def test_killed_behind_a_merge_nothing_of_it_was_only_in_memory(daemon, chainctl, folder, golden, words):
    """A daemon has no `stop` that would flush; and a job does not flush what is open for writing already."""
    path = images.create(folder / "web.qcow2", None, backing=golden)
    web, ctl = daemon([*blockdev("w", path), *export("web", "w")]), chainctl()
    add(ctl, web)
    for turn, name in enumerate(("one", "two", "three"), 1):
        web.qemu_io("web", f"write -P {turn} {turn}M 1M")
        ctl.ok("snapshot", "q", name)
    web.qemu_io("web", "write -P 4 4M 1M", "flush")
    ctl.ok(*words)
    assert problems(ctl) == [] and "preallocate" not in {node["drv"] for node in nodes(web)}
    web.kill()
    active = ctl.ok("path", "q", "web")["path"]
    for pattern, at in ((9, 0), (1, 1 << 20), (2, 2 << 20), (3, 3 << 20), (4, 4 << 20)):
        assert images.reads(active, pattern, at, 64 << 10), pattern
