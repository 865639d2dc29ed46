"""`vm export` and `vm import`: one VM as a document, and taken in where its images are."""
import json
import shutil
import sqlite3

import pytest

from support import disks, images


@pytest.fixture
def ctl(chainctl, vm):
    """A chainctl with two snapshots of that QEMU."""
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one", "--tag", "a", "--description", "why")
    ctl.ok("snapshot", "vm", "two", "--disk", "vdb", "--protect")
    return ctl


@pytest.fixture
def there(chainctl, tmp_path):
    """A chainctl on "another host": another database."""
    return chainctl(tmp_path / "there")


def exported(ctl, place, *words):
    """The bare document in a file."""
    result = ctl.run("vm", "export", *words, json_output=False)
    assert result.status == 0, result
    place.write_text(result.out)
    return place


def seen(ctl):
    return ctl.ok("tree", "vm")["disks"], ctl.ok("list", "vm")["snapshots"]


def change(path, change_document):
    document = json.loads(path.read_text())
    change_document(document)
    path.write_text(json.dumps(document))
    return path


def test_vm_moves_with_its_snapshots(ctl, there, vm, tmp_path):
    before = seen(ctl), ctl.ok("vm", "show", "vm")["vm"]
    path = exported(ctl, tmp_path / "vm.json", "vm")
    ctl.ok("vm", "remove", "vm")
    said = there.ok("vm", "import", path)
    assert (seen(there), said["vm"]) == before
    assert there.ok("check", "vm")["problems"] == []
    there.ok("snapshot", "vm", "three")
    assert [one["name"] for one in there.ok("list", "vm")["snapshots"]] == ["one", "two", "three"]


def test_both_forms_are_taken_from_stdin_too(ctl, there, tmp_path):
    envelope = ctl.run("vm", "export", "vm")
    assert envelope.json["export"] == json.loads(exported(ctl, tmp_path / "vm.json").read_text())
    there.ok("vm", "import", "-", input=envelope.out)
    there.ok("vm", "remove", "vm")
    there.ok("vm", "import", "-", input=(tmp_path / "vm.json").read_text())
    assert seen(there) == seen(ctl)


def test_vm_that_does_not_run_is_imported(ctl, there, vm, tmp_path):
    path = exported(ctl, tmp_path / "vm.json")
    vm.close()
    assert there.ok("vm", "import", path)["vm"]["state"] == "shut-off"
    assert there.ok("check", "vm")["problems"] == []


def test_copies_of_the_images_are_taken_in(ctl, there, vm, folder, tmp_path):
    """As on another host: other inodes, and times if they were not kept."""
    path = exported(ctl, tmp_path / "vm.json")
    vm.close()
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder, copy_function=shutil.copy)
    there.ok("vm", "import", path)
    assert there.ok("check", "vm")["problems"] == []


def test_snapshots_come_after_those_of_other_vms_and_notes_are_this_hosts(ctl, there, qemu, folder, tmp_path):
    other = qemu(disks.blockdev("vda", images.create(tmp_path / "other.qcow2", "8M")))
    disks.register(there, other, "--quiesce", "off", name="other")
    there.ok("snapshot", "other", "one")
    there.ok("vm", "import", exported(ctl, tmp_path / "vm.json"))
    note = json.loads((folder / "vda.one.qcow2.chainctl").read_text())
    assert note["snapshot"]["sequence"] == 2
    assert there.ok("check", "vm")["problems"] == []


def test_taken_name_is_refused(ctl, tmp_path):
    path = exported(ctl, tmp_path / "vm.json")
    assert ctl.fails(1, "vm", "import", path)["code"] == "exists"


def test_image_of_another_vm_is_refused(ctl, tmp_path):
    path = exported(ctl, tmp_path / "vm.json")
    change(path, lambda document: document["vm"].update(name="again"))
    error = ctl.fails(9, "vm", "import", path)
    assert "belongs to" in error["message"] and ".qcow2" in error["message"]
    assert [vm["name"] for vm in ctl.ok("vm", "list")["vms"]] == ["vm"]


def test_missing_image_is_refused_by_name(ctl, there, vm, folder, tmp_path):
    path = exported(ctl, tmp_path / "vm.json")
    vm.close()
    (folder / "vdb.one.qcow2").unlink()
    error = there.fails(3, "vm", "import", path)
    assert error["code"] == "no-such-image" and str(folder / "vdb.one.qcow2") in error["message"]
    assert there.ok("vm", "list")["vms"] == []


@pytest.mark.parametrize("wrong", ["backing", "frozen", "no-image"])
def test_image_that_is_another_than_it_should_be_is_refused(ctl, there, vm, folder, tmp_path, wrong):
    path = exported(ctl, tmp_path / "vm.json")
    vm.close()
    image = folder / "vdb.one.qcow2"
    if wrong == "backing":
        images.qemu_img("rebase", "-u", "-f", "qcow2", "-b", folder / "vda.qcow2", "-F", "qcow2", image)
    elif wrong == "frozen":
        images.qemu_img("bitmap", "--add", "-f", "qcow2", image, "new")  # in the header
    else:
        image.write_bytes(b"hello" * 100)
    error = there.fails(9, "vm", "import", path)
    assert str(image) in error["message"]
    assert there.ok("vm", "list")["vms"] == []


def deep(document):
    document["vm"]["name"] = json.loads("[" * 40 + "]" * 40)


WRONG = {
    "name": lambda document: document["vm"].update(name="../up"),
    "no-name": lambda document: document["vm"].pop("name"),
    "newer": lambda document: document.update(chainctl_export=2),
    "no-format": lambda document: document.pop("chainctl_export"),
    "quiesce": lambda document: document["vm"].update(quiesce="perhaps"),
    "disks": lambda document: document.update(disks={}),
    "disk-twice": lambda document: document["disks"].append(document["disks"][0]),
    "no-images": lambda document: document["disks"][0].update(images=[]),
    "parent": lambda document: document["disks"][0]["images"][0].update(parent="/nowhere"),
    "own-parent": lambda document: document["disks"][0]["images"].reverse(),
    "size": lambda document: document["disks"][0]["images"][0].update(virtual_size=-1),
    "active": lambda document: document["disks"][0].update(active="/nowhere"),
    "options": lambda document: document["disks"][0]["images"][0].update(options="{"),
    "snapshot-disk": lambda document: document["snapshots"][0]["disks"][0].update(disk="vdz"),
    "snapshot-image": lambda document: document["snapshots"][0]["disks"][0].update(image="/nowhere"),
    "snapshot-twice": lambda document: document["snapshots"].append(document["snapshots"][-1]),
    "order": lambda document: document["snapshots"].reverse(),
    "id": lambda document: document["snapshots"][0].update(id="x" * 36),
    "deep": deep,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_document_that_makes_no_sense_is_refused_whole(ctl, there, tmp_path, wrong):
    path = change(exported(ctl, tmp_path / "vm.json"), WRONG[wrong])
    error = there.fails(1, "vm", "import", path)
    assert str(path) in error["message"], error
    assert there.ok("vm", "list")["vms"] == []


def test_what_is_no_document_is_refused(there, tmp_path):
    for text in ("", "{", "[]", "null", "hello", "[" * 1_000_000, "// \"\n" + "[" * 100_000, "\0"):
        (tmp_path / "file").write_text(text)
        there.fails(1, "vm", "import", tmp_path / "file")
    there.fails(3, "vm", "import", tmp_path / "nowhere")
    there.fails(1, "vm", "import", tmp_path)


def test_dry_run_imports_nothing(ctl, there, folder, tmp_path):
    path = exported(ctl, tmp_path / "vm.json")
    files = disks.files(folder)
    assert there.ok("vm", "import", path, "--dry-run")["vm"]["name"] == "vm"
    assert there.ok("vm", "list")["vms"] == [] and disks.files(folder) == files


def test_vm_whose_operation_has_not_ended_is_not_exported(ctl, tmp_path):
    with sqlite3.connect(ctl.state_dir / "chainctl.db") as database:
        database.execute("UPDATE operation SET state = 'detached', ended_us = NULL WHERE sequence = 2")
    database.close()
    assert ctl.fails(6, "vm", "export", "vm")["code"] == "held"


def test_qcow2_image_that_is_described_as_raw_is_refused(ctl, there, tmp_path):
    """A guest that was started on it as raw would write over its header."""
    def lie(document):
        for disk in document["disks"]:
            for image in disk["images"]:
                image["format"] = "raw"

    path = change(exported(ctl, tmp_path / "vm.json"), lie)
    assert "raw" in there.fails(9, "vm", "import", path)["message"]
    assert there.ok("vm", "list")["vms"] == []
