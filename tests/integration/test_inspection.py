"""What the verbs that only look say of live machines: it is what QEMU, qemu-img and the file system say."""
import contextlib
import os
import re

import pytest

from support import disks, images

MIB = 1 << 20
UUID = "6f0d2c4e-9a57-4b41-8f0a-3d8e5a4c1b22"


@pytest.fixture
def vm(qemu, folder):
    """Two disks; vda lies on a golden image."""
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, "write -P 1 0 2M")
    words = disks.blockdev("vda", images.create(folder / "vda.qcow2", None, backing=golden))
    words += disks.blockdev("vdb", images.create(folder / "vdb.raw", "4M", "raw"), "raw")
    return qemu(words, uuid=UUID)


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    return ctl


@pytest.fixture
def history(vm, ctl):
    """Snapshots "one" and "two", with data written before, between and after. Returns their ids."""
    vm.qemu_io("vda", "write -P 2 0 64k")
    first = ctl.ok("snapshot", "vm", "one", "--description", "the first", "--tag", "x", "--tag", "y", "--protect")
    vm.qemu_io("vda", "write -P 3 64k 1M")
    second = ctl.ok("snapshot", "vm", "two", "--exclude", "vdb")
    vm.qemu_io("vda", "write -P 4 3M 128k")
    return first["snapshot"]["id"], second["snapshot"]["id"]


def test_machine_is_shown_as_qemu_has_it(vm, ctl, folder):
    shown = ctl.ok("vm", "show", "vm")["vm"]
    assert (shown["name"], shown["uuid"], shown["qmp"]) == ("vm", UUID, str(vm.qmp))
    assert (shown["agent"], shown["guest"], shown["quiesce"], shown["state"]) == (None, None, "off", "paused")
    assert [disk["disk"] for disk in shown["disks"]] == ["vda", "vdb"]
    for disk in shown["disks"]:
        node = disks.inserted(vm, disk["disk"])
        assert (disk["node"], disk["path"], disk["format"]) == (node["node-name"], node["file"], node["drv"])
        assert disk["virtual_size"] == node["image"]["virtual-size"]
        assert disk["base"] == disk["path"]
        assert disk["device"] in [entry.get("qdev") for entry in vm.monitor().execute("query-block")]
    vm.monitor().execute("cont")
    assert ctl.ok("vm", "show", "vm")["vm"]["state"] == "running"
    ctl.ok("snapshot", "vm", "one")
    shown = ctl.ok("vm", "show", "vm")["vm"]["disks"][0]
    assert (shown["path"], shown["base"]) == (str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2"))
    assert shown["node"] == disks.inserted(vm, "vda")["node-name"]


def test_list_has_every_machine_and_remove_touches_no_image(vm, ctl, folder):
    ctl.ok("snapshot", "vm", "one")
    [entry] = ctl.ok("vm", "list")["vms"]
    shown = ctl.ok("vm", "show", "vm")["vm"]
    assert entry.items() <= shown.items() and "disks" not in entry
    with disks.unchanged(vm, folder):
        removed = ctl.ok("vm", "remove", "vm")
    assert removed["vm"]["name"] == "vm" and removed["changes"] == []
    assert ctl.ok("vm", "list")["vms"] == []
    error = ctl.fails(3, "list", "vm")
    assert error["code"]
    again = disks.register(ctl, vm)
    assert again["disks"][0]["base"] == str(folder / "vda.one.qcow2")
    assert ctl.ok("list", "vm")["snapshots"] == []


def test_machine_is_registered_once_and_a_wrong_word_names_the_nearest(vm, ctl, folder):
    with disks.unchanged(vm, folder):
        assert ctl.fails(1, "vm", "add", "vm", "--qmp", vm.qmp)["code"] == "exists"
        error = ctl.fails(3, "snapshot", "vmm", "x")
    assert "vm" in (error["hint"] or "") + error["message"]
    assert disks.nodes(vm).keys() & {"vda-format"} and len(vm.monitor().chain("vda")) == 2


def test_snapshots_are_listed_oldest_first_with_the_bytes_their_images_take(ctl, folder, history):
    listed = ctl.ok("list", "vm")["snapshots"]
    assert [(entry["name"], entry["id"]) for entry in listed] == [("one", history[0]), ("two", history[1])]
    for entry in listed:
        assert entry["size"] == sum(images.info(part["image"])["actual-size"] for part in entry["disks"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry["created"])
    assert listed[0]["created"] < listed[1]["created"]
    parts = {(part["disk"], part["image"], part["overlay"]) for part in listed[1]["disks"]}
    assert parts == {("vda", str(folder / "vda.one.qcow2"), str(folder / "vda.two.qcow2"))}
    first = listed[0]
    assert (first["description"], first["tags"], first["protected"]) == ("the first", ["x", "y"], True)
    assert (first["automatic"], first["consistency"], first["vm"]) == (False, "crash", "vm")


def test_snapshot_is_shown_by_name_by_prefix_and_as_the_latest(ctl, history):
    whole = ctl.ok("show", "vm", "one")["snapshot"]
    assert whole["id"] == history[0]
    assert ctl.ok("show", "vm", history[0][:8])["snapshot"] == whole
    assert ctl.ok("show", "vm", history[0])["snapshot"] == whole
    assert ctl.ok("show", "vm", "latest")["snapshot"]["name"] == "two"
    ctl.fails(3, "show", "vm", history[0][:3])
    ctl.fails(3, "show", "vm", "three")


def test_tree_is_the_chain_that_qemu_img_sees(vm, ctl, folder, history):
    trees = {tree["disk"]: tree for tree in ctl.ok("tree", "vm")["disks"]}
    assert list(trees) == ["vda", "vdb"]
    for name, tree in trees.items():
        chain = images.chain(tree["active"])
        assert [image["filename"] for image in chain] == vm.monitor().chain(name)
        shown = {image["path"]: image for image in tree["images"]}
        assert set(shown) == {image["filename"] for image in chain}
        for image in chain:
            entry = shown[image["filename"]]
            assert entry["parent"] == image.get("full-backing-filename")
            assert (entry["format"], entry["virtual_size"]) == (image["format"], image["virtual-size"])
            assert entry["allocated"] == image["actual-size"]
    states = {os.path.basename(image["path"]): image["state"] for tree in trees.values() for image in tree["images"]}
    assert states == {
        "golden.qcow2": "foreign", "vda.qcow2": "backing", "vda.one.qcow2": "backing", "vda.two.qcow2": "active",
        "vdb.raw": "backing", "vdb.one.qcow2": "active",
    }  # fmt: skip
    names = {image["path"]: image["snapshots"] for image in trees["vda"]["images"]}
    assert names[str(folder / "vda.qcow2")] == ["one"] and names[str(folder / "vda.one.qcow2")] == ["two"]


def test_data_of_each_snapshot_is_that_of_its_moment(ctl, folder, tmp_path, history):
    def read(path, at):
        return images.to_raw(path, tmp_path / "raw").read_bytes()[at]

    one, two = folder / "vda.qcow2", folder / "vda.one.qcow2"
    assert (read(one, 0), read(one, 65536), read(one, 3 * MIB)) == (2, 1, 0)
    assert (read(two, 0), read(two, 65536), read(two, 3 * MIB)) == (2, 3, 0)
    assert read(folder / "vda.two.qcow2", 3 * MIB) == 4


def test_path_is_the_image_that_the_guest_writes_to(vm, ctl, history):
    said = ctl.ok("path", "vm", "vda")
    head = disks.inserted(vm, "vda")
    assert (said["path"], said["format"]) == (head["file"], head["drv"])
    plain = ctl.run("path", "vm", "vda", json_output=False)
    assert (plain.status, plain.out) == (0, head["file"] + "\n")
    missing = ctl.run("path", "vm", "vdc", json_output=False)
    assert missing.status == 3 and missing.out == "" and "vdc" in missing.err


def test_log_tells_what_was_done_and_what_failed(ctl, history):
    ctl.fails(1, "snapshot", "vm", "one")
    operations = ctl.ok("log", "vm")["operations"]
    assert len(operations) == 2
    for entry in operations:
        assert (entry["verb"], entry["state"], entry["error"]) == ("snapshot", "done", None)
        assert entry["vm"] == "vm" and entry["started"] < entry["ended"] and entry["by"]


def test_machine_in_order_has_no_problems(vm, ctl, history):
    assert ctl.ok("check", "vm")["problems"] == []
    vm.kill()
    assert ctl.ok("check", "vm")["problems"] == []


def problems(ctl):
    """What check finds, at exit status 7."""
    result = ctl.run("check", "vm")
    assert result.status == 7 and result.json["ok"] is False and result.json["error"]["code"], result
    return [problem for problem in result.json["problems"] if problem["severity"] == "error"]


def assert_only(found, code, disk, path):
    told = {(problem["code"], problem["disk"], problem["path"]) for problem in found}
    assert told == {(code, disk, str(path))}, found
    assert all(problem["message"] and problem["repair"] for problem in found)


@pytest.mark.parametrize("which", ["vda.qcow2", "vda.one.qcow2", "vda.two.qcow2", "vdb.raw", "golden.qcow2"])
def test_missing_image_is_found(ctl, folder, history, which):
    os.rename(folder / which, folder / "moved")
    disk = "vdb" if which == "vdb.raw" else "vda"
    found = problems(ctl)
    assert ("image-missing", disk, str(folder / which)) in [(one["code"], one["disk"], one["path"]) for one in found]
    os.rename(folder / "moved", folder / which)
    assert [problem for problem in ctl.ok("check", "vm")["problems"] if problem["severity"] == "error"] == []


@contextlib.contextmanager
def times_kept(path):
    """Changes in the block cannot be told by the file's time."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("which", ["vda.qcow2", "vda.one.qcow2", "vdb.raw"])
def test_frozen_image_that_grew_by_a_byte_is_found(ctl, folder, history, which):
    with times_kept(folder / which), open(folder / which, "ab") as file:
        file.write(b"x")
    assert_only(problems(ctl), "image-changed", "vdb" if which == "vdb.raw" else "vda", folder / which)


def test_frozen_image_that_was_written_to_is_found(ctl, folder, history):
    with open(folder / "vdb.raw", "r+b") as file:
        file.write(b"x")
    assert_only(problems(ctl), "image-changed", "vdb", folder / "vdb.raw")


def test_frozen_image_with_another_header_is_found(ctl, folder, history):
    path = folder / "vda.one.qcow2"
    with times_kept(path), open(path, "r+b") as file:
        file.seek(60)  # nb_snapshots, in the qcow2 header
        file.write(b"\0\0\0\1")
    assert_only(problems(ctl), "image-changed", "vda", path)


@pytest.mark.parametrize("to", ["elsewhere", "relative", "none"])
def test_wrong_backing_name_in_a_header_is_found(vm, ctl, folder, history, to):
    vm.kill()
    overlay = folder / "vda.two.qcow2"
    name = {"elsewhere": str(folder / "vda.qcow2"), "relative": "vda.qcow2", "none": ""}[to]
    images.qemu_img("rebase", "-u", "-F", "qcow2", "-b", name, overlay)
    assert_only(problems(ctl), "wrong-backing-name", "vda", overlay)


def test_machine_on_another_image_is_found_while_it_runs_and_not_after(vm, ctl, folder, history):
    vm.kill()
    vm.start()
    found = {(one["code"], one["disk"], one["path"]) for one in problems(ctl)}
    assert found == {
        ("wrong-active-image", "vda", str(folder / "vda.qcow2")),
        ("wrong-active-image", "vdb", str(folder / "vdb.raw")),
    }


def test_other_machine_at_the_socket_is_found(vm, ctl, history):
    vm.kill()
    vm.uuid = UUID.replace("6f", "7f")
    vm.start()
    assert "another-vm" in {one["code"] for one in problems(ctl)}


def test_resized_disk_is_a_warning_and_no_error(vm, ctl, history):
    vm.monitor().execute("block_resize", node_name=disks.inserted(vm, "vda")["node-name"], size=16 * MIB)
    [problem] = ctl.ok("check", "vm")["problems"]
    assert (problem["code"], problem["severity"], problem["disk"]) == ("resized", "warning", "vda")


def test_node_of_ours_that_no_disk_uses_is_found(vm, ctl, folder, history):
    stray, monitor = images.create(folder / "stray.qcow2", "8M"), vm.monitor()
    monitor.execute("blockdev-add", driver="qcow2", node_name="cc-0123456789abcdef-0",
                    file={"driver": "file", "filename": str(stray)})  # fmt: skip
    assert "node-left-over" in {one["code"] for one in problems(ctl)}
    monitor.execute("blockdev-del", node_name="cc-0123456789abcdef-0")
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("words", ["list vm", "show vm one", "tree vm", "log vm", "vm list", "vm show vm", "check vm"])
def test_looking_changes_nothing_and_says_the_same_to_people(vm, ctl, folder, history, words):
    words = words.split()
    database = disks.files(ctl.state_dir)
    assert database
    with disks.unchanged(vm, folder):
        said = ctl.ok(*words)
        assert ctl.run(*words, json_output=False).out
    assert disks.files(ctl.state_dir) == database
    assert (said["schema"], said["ok"], said["warnings"]) == (1, True, [])
    assert words[: len(said["command"].split())] == said["command"].split()
