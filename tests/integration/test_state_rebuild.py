"""`state rebuild`: the database is lost; notes and image headers make it again, or say what cannot be decided."""
import json
import shutil

import pytest

from support import disks, images


@pytest.fixture
def golden(folder):
    """A template, which no VM owns."""
    return images.create(folder / "golden.qcow2", "8M")


@pytest.fixture
def vm(qemu, folder, golden):
    """A QEMU with vda.qcow2, which lies on the template by a relative name, and vdb.raw."""
    paths = {"vda": images.create(folder / "vda.qcow2", None, backing="golden.qcow2", backing_fmt="qcow2"),
             "vdb": images.create(folder / "vdb.raw", "4M", "raw")}  # fmt: skip
    words = disks.blockdev("vda", paths["vda"]) + disks.blockdev("vdb", paths["vdb"], "raw")
    return qemu(words)


@pytest.fixture
def ctl(chainctl, vm):
    """A chainctl that has taken four snapshots of that QEMU."""
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one", "--description", "before the upgrade: \"quoted\", /* not a comment */ naïve\n", "--tag", "b")
    ctl.ok("snapshot", "vm", "two", "--disk", "vda", "--tag", "x y", "--tag", "a", "--protect")
    vm.qemu_io("vda", "write -P 2 0 64k")
    ctl.ok("snapshot", "vm", "three")
    ctl.ok("snapshot", "vm", "four", "--disk", "vdb")
    return ctl


def lose(ctl):
    """Everything but the images and what lies beside them."""
    shutil.rmtree(ctl.state_dir)


def seen(ctl):
    """What a user sees of the VM; not how much is allocated, which a write may change."""
    tree = ctl.ok("tree", "vm")["disks"]
    listed = ctl.ok("list", "vm")["snapshots"]
    for image in [image for disk in tree for image in disk["images"]]:
        del image["allocated"]
    for snapshot in listed:
        del snapshot["size"]
    return tree, listed, ctl.ok("vm", "show", "vm")["vm"]


def codes(document):
    return [warning["code"] for warning in document["warnings"]]


def test_lost_database_is_made_again_as_it_was(ctl, vm, folder):
    before, files = seen(ctl), disks.files(folder)
    lose(ctl)
    said = ctl.ok("state", "rebuild", folder)
    assert said["state"] == {"path": str(ctl.state_dir / "chainctl.db"), "vms": 1, "snapshots": 4, "notes": 6}
    assert said["warnings"] == [] and disks.files(folder) == files
    assert seen(ctl) == before
    assert ctl.ok("check", "vm")["problems"] == []
    ctl.ok("snapshot", "vm", "five")
    assert [one["name"] for one in ctl.ok("list", "vm")["snapshots"]] == ["one", "two", "three", "four", "five"]
    assert ctl.ok("check", "vm")["problems"] == []
    assert ctl.ok("recover", "vm")["warnings"] == []


def test_what_an_image_was_made_by_and_how_it_was_opened_comes_back(ctl, folder):
    def rows():
        export = json.loads(ctl.run("vm", "export", "vm", json_output=False).out)
        return {(disk["name"], image["path"]): image for disk in export["disks"] for image in disk["images"]}

    before = rows()
    assert any(image["created_by"] for image in before.values()) and any(image["options"] for image in before.values())
    lose(ctl)
    ctl.ok("state", "rebuild", folder)
    assert rows() == before


def test_database_with_a_vm_in_it_stays(ctl, folder):
    before = seen(ctl)
    error = ctl.fails(1, "state", "rebuild", folder)
    assert error["code"] == "exists" and "move it away" in error["hint"]
    assert seen(ctl) == before


def test_dry_run_makes_no_database(ctl, folder):
    lose(ctl)
    said = ctl.ok("state", "rebuild", folder, "--dry-run")
    assert said["state"]["snapshots"] == 4 and not ctl.state_dir.exists()


def test_folders_are_searched_below_but_not_through_links(ctl, folder, tmp_path):
    lose(ctl)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/images").symlink_to(folder)
    assert ctl.fails(3, "state", "rebuild", tmp_path / "links")["code"] == "no-such-image"
    (folder / "loop").symlink_to(tmp_path)
    assert ctl.ok("state", "rebuild", tmp_path, folder, tmp_path / "links/images")["state"]["snapshots"] == 4


def test_missing_folder_and_folder_without_notes_are_told(ctl, folder, tmp_path):
    lose(ctl)
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere", folder / "vdb.raw"):
        assert str(place) in ctl.fails(3, "state", "rebuild", place)["message"] or place.name == "empty"
    assert ctl.ok("vm", "list")["vms"] == []


@pytest.mark.parametrize("damage", ["cut", "empty", "not-ours", "newer", "brackets"])
def test_damaged_note_is_named_and_nothing_is_guessed(ctl, folder, damage):
    path = folder / "vda.two.qcow2.chainctl"
    text = path.read_text()
    path.write_text({"cut": text[:-9], "empty": "", "not-ours": "{}", "brackets": "[" * 100_000,
                     "newer": text.replace('"chainctl_note":1', '"chainctl_note":2')}[damage])  # fmt: skip
    lose(ctl)
    error = ctl.fails(9, "state", "rebuild", folder)
    assert str(path) in error["message"] and "move it away" in error["hint"]
    assert ctl.ok("vm", "list")["vms"] == []
    path.unlink()
    said = ctl.ok("state", "rebuild", folder)
    assert codes(said) == [] or codes(said) == ["snapshot-incomplete"]
    tree = {disk["disk"]: disk for disk in ctl.ok("tree", "vm")["disks"]}
    assert str(folder / "vda.two.qcow2") in [image["path"] for image in tree["vda"]["images"]], "its header tells of it"
    assert "two" not in [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]


def test_snapshot_that_lacks_a_disks_note_is_left_out_and_told(ctl, folder):
    (folder / "vda.one.qcow2.chainctl").unlink()
    lose(ctl)
    said = ctl.ok("state", "rebuild", folder)
    assert codes(said) == ["snapshot-incomplete"]
    assert "'one'" in said["warnings"][0]["message"] and "'vda'" in said["warnings"][0]["message"]
    assert [one["name"] for one in ctl.ok("list", "vm")["snapshots"]] == ["two", "three", "four"]


def test_disk_of_which_no_folder_was_named_is_refused(ctl, folder, tmp_path):
    (tmp_path / "part").mkdir()
    for note in folder.glob("vdb.*.chainctl"):
        note.rename(tmp_path / "part" / note.name)
    lose(ctl)
    error = ctl.fails(9, "state", "rebuild", folder)
    assert "'vdb'" in error["message"] and "folder" in error["hint"]


def test_missing_image_is_refused_by_name(ctl, folder):
    lose(ctl)
    (folder / "vda.one.qcow2").rename(folder.parent / "away")
    error = ctl.fails(3, "state", "rebuild", folder)
    assert error["code"] == "no-such-image" and str(folder / "vda.one.qcow2") in error["message"]
    assert ctl.ok("vm", "list")["vms"] == []


def test_header_that_names_another_backing_image_is_refused(qemu, ctl, vm, folder):
    vm.close()
    lose(ctl)
    images.qemu_img("rebase", "-u", "-f", "qcow2", "-b", folder / "vda.qcow2", "-F", "qcow2", folder / "vda.two.qcow2")
    error = ctl.fails(9, "state", "rebuild", folder)
    assert str(folder / "vda.two.qcow2") in error["message"] and str(folder / "vda.one.qcow2") in error["message"]


def test_image_on_the_active_one_without_a_note_is_told_and_not_taken_for_the_active_one(ctl, folder):
    stranger = images.create(folder / "later.qcow2", None, backing=folder / "vda.three.qcow2", backing_fmt="qcow2")
    lose(ctl)
    said = ctl.ok("state", "rebuild", folder)
    assert codes(said) == ["image-without-note"] and str(stranger) in said["warnings"][0]["message"]
    assert ctl.ok("tree", "vm")["disks"][0]["active"] == str(folder / "vda.three.qcow2")


def test_two_vms_of_one_name_are_refused(ctl, vm, folder):
    ctl.ok("vm", "remove", "vm")
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "again")
    lose(ctl)
    error = ctl.fails(9, "state", "rebuild", folder)
    assert "two VMs" in error["message"] and ".chainctl" in error["message"]
    for note in folder.glob("*.chainctl"):
        if ".again." not in note.name:
            note.unlink()
    ctl.ok("state", "rebuild", folder)
    assert ctl.ok("check", "vm")["problems"] == []


def test_two_vms_come_back_each_with_its_own(ctl, qemu, folder):
    other = qemu(disks.blockdev("vda", images.create(folder / "other.qcow2", "8M")))
    disks.register(ctl, other, "--quiesce", "off", name="other")
    ctl.ok("snapshot", "other", "one")
    ctl.ok("snapshot", "vm", "last")
    before = seen(ctl), ctl.ok("tree", "other")
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["state"]["vms"] == 2
    assert (seen(ctl), ctl.ok("tree", "other")) == before
    assert ctl.ok("check", "other")["problems"] == ctl.ok("check", "vm")["problems"] == []


def test_copy_of_the_folder_is_no_second_vm(ctl, folder, tmp_path):
    lose(ctl)
    shutil.copytree(folder, folder / "backup")
    said = ctl.ok("state", "rebuild", folder)
    assert set(codes(said)) == {"note-elsewhere", "image-without-note"} and said["state"]["snapshots"] == 4


def test_images_that_were_brought_back_as_copies_are_taken_in(ctl, vm, folder, tmp_path):
    vm.close()
    lose(ctl)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder, copy_function=shutil.copy)
    assert codes(ctl.ok("state", "rebuild", folder)) == []
    problems = ctl.ok("check", "vm")["problems"]
    assert {found["code"] for found in problems} <= {"note-outdated"}
    ctl.ok("recover", "vm")
    assert ctl.ok("check", "vm")["problems"] == []


def restart_on(vm, **heads):
    """The machine again, each disk on that file."""
    vm.kill()
    vm.arguments = [word for name, path in heads.items() for word in disks.blockdev(name, path, path.suffix[1:])]
    vm.start()


def warned(document, code):
    return " ".join(one["message"] for one in document["warnings"] if one["code"] == code)


def test_frozen_image_that_was_written_to_is_refused_with_its_snapshot(ctl, vm, folder):
    vm.close()
    lose(ctl)
    images.write(folder / "vda.one.qcow2", "write -P 9 0 64k")
    error = ctl.fails(9, "state", "rebuild", folder)
    for name in (folder / "vda.one.qcow2", "two", folder / "vda.three.qcow2"):
        assert f"'{name}'" in error["message"]
    assert "vm add" in error["hint"] and ctl.ok("vm", "list")["vms"] == []


def test_image_that_was_accepted_as_the_active_one_comes_back_as_such(ctl, vm, folder):
    restart_on(vm, vda=folder / "vda.one.qcow2", vdb=folder / "vdb.four.qcow2")
    ctl.ok("vm", "rescan", "vm", "--accept")
    vm.close()
    images.write(folder / "vda.one.qcow2", "write -P 9 0 64k")
    before = ctl.ok("path", "vm", "vda"), ctl.ok("tree", "vm")
    lose(ctl)
    said = ctl.ok("state", "rebuild", folder)
    assert (ctl.ok("path", "vm", "vda"), ctl.ok("tree", "vm")) == before
    spoiled = warned(said, "snapshots-spoiled")
    assert codes(said) == ["snapshots-spoiled"] and "'two'" in spoiled and "'three'" in spoiled and "'one'" not in spoiled
    assert ctl.run("check", "vm").json["problems"] == []


def test_image_without_a_note_that_was_accepted_as_the_active_one_comes_back(ctl, vm, folder):
    stranger = images.create(folder / "later.qcow2", None, backing=folder / "vda.two.qcow2", backing_fmt="qcow2")
    restart_on(vm, vda=stranger, vdb=folder / "vdb.four.qcow2")
    ctl.ok("vm", "rescan", "vm", "--accept")
    before = ctl.ok("tree", "vm")
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert ctl.ok("tree", "vm") == before and ctl.run("check", "vm").json["problems"] == []


def test_note_of_before_the_active_image_was_noted_makes_no_stale_overlay_active(ctl, vm, folder):
    restart_on(vm, vda=folder / "vda.one.qcow2", vdb=folder / "vdb.four.qcow2")
    ctl.ok("vm", "rescan", "vm", "--accept")
    vm.close()
    note = folder / "vda.three.qcow2.chainctl"
    document = json.loads(note.read_text())
    assert document.pop("active") == str(folder / "vda.one.qcow2")
    note.write_text(json.dumps(document))
    assert [found["code"] for found in ctl.run("check", "vm").json["problems"]] == ["note-outdated"]
    lose(ctl)
    error = ctl.fails(9, "state", "rebuild", folder)
    assert f"'{folder / 'vda.one.qcow2'}'" in error["message"] and "'two'" in error["message"]
    assert ctl.ok("vm", "list")["vms"] == []


def test_snapshot_after_an_accepted_image_is_the_newest_story(ctl, vm, folder):
    restart_on(vm, vda=folder / "vda.one.qcow2", vdb=folder / "vdb.four.qcow2")
    ctl.ok("vm", "rescan", "vm", "--accept")
    vm.qemu_io("vda", "write -P 9 0 64k")
    ctl.ok("snapshot", "vm", "after")
    before = ctl.ok("tree", "vm")
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert ctl.ok("tree", "vm") == before


# ---- what is left of a rollback ----


@pytest.fixture
def back(qemu, chainctl, folder):
    """(vm, ctl, name): one disk that went back twice; the newest overlay, which automatic snapshot `name` left, lies on what
    the first one kept, and is committed into that: so the snapshot goes on without an overlay."""
    vm, ctl = qemu(disks.two(folder)[0], paused=False), chainctl()
    disks.register(ctl, vm, "--quiesce", "off")

    def step(pattern):
        for disk in ("vda", "vdb"):
            vm.qemu_io(disk, f"write -P {pattern} 0 64k")

    step(1)
    ctl.ok("snapshot", "vm", "one")
    step(2)
    first = ctl.ok("rollback", "vm", "one", "--reset", "never")["rollback"]["automatic_snapshot"]
    step(3)
    ctl.ok("snapshot", "vm", "three")
    step(4)
    name = ctl.ok("rollback", "vm", first, "--reset", "never")["rollback"]["automatic_snapshot"]
    step(5)
    done = ctl.ok("commit", "vm", "--pivot", "--base", "one")
    assert done["snapshots_removed"] == [first]
    return vm, ctl, name


def test_automatic_snapshot_whose_overlay_was_merged_away_comes_back(back, folder):
    vm, ctl, name = back
    before = seen(ctl)
    shown = ctl.ok("show", "vm", name)["snapshot"]
    assert shown["automatic"] and [part["overlay"] for part in shown["disks"]] == [None, None]
    assert ctl.ok("check", "vm")["problems"] == []
    beside = [note.name for note in folder.glob(f"*.{shown['id'][:8]}.chainctl")]
    assert sorted(beside) == sorted(f"{part['image'].rsplit('/', 1)[1]}.{shown['id'][:8]}.chainctl" for part in shown["disks"])
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert seen(ctl) == before and ctl.ok("show", "vm", name)["snapshot"] == shown
    assert ctl.ok("check", "vm")["problems"] == []
    ctl.ok("rollback", "vm", name, "--reset", "never")
    for disk in ("vda", "vdb"):
        vm.qemu_io(disk, "read -P 4 0 64k")
    before = seen(ctl)
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert seen(ctl) == before


def test_note_beside_the_image_is_missed_written_again_and_removed_with_its_snapshot(back, folder):
    vm, ctl, name = back
    shown = ctl.ok("show", "vm", name)["snapshot"]
    notes = {note: note.read_text() for note in folder.glob(f"*.{shown['id'][:8]}.chainctl")}
    assert len(notes) == 2
    for note in notes:
        note.unlink()
    found = ctl.ok("check", "vm")["problems"]
    assert {(problem["code"], problem["path"]) for problem in found} == {("note-missing", str(note)) for note in notes}
    ctl.ok("recover", "vm")
    assert {note: note.read_text() for note in notes} == notes
    ctl.ok("rollback", "vm", name, "--reset", "never")
    done = ctl.ok("commit", "vm", "--pivot", "--base", "three")
    assert name in done["snapshots_removed"]
    assert [note for note in notes if note.exists()] == []
    assert ctl.ok("check", "vm")["problems"] == []
    before = seen(ctl)
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert seen(ctl) == before


def test_note_follows_the_image_of_its_snapshot_where_that_is_merged_down(back, folder):
    """The frozen image goes into the one below it, which then holds the snapshot; nothing tells of where it was."""
    vm, ctl, name = back
    shown = ctl.ok("show", "vm", name)["snapshot"]
    ctl.ok("rollback", "vm", name, "--reset", "never")
    done = ctl.ok("commit", "vm", "--top", name, "--base", "one")
    assert done["snapshots_removed"] == ["three"]
    moved = ctl.ok("show", "vm", name)["snapshot"]
    assert [part["image"] for part in moved["disks"]] != [part["image"] for part in shown["disks"]]
    assert sorted(map(str, folder.glob(f"*.{shown['id'][:8]}.chainctl"))) == sorted(
        f"{part['image']}.{shown['id'][:8]}.chainctl" for part in moved["disks"])  # fmt: skip
    before = seen(ctl)
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert seen(ctl) == before


@pytest.mark.parametrize("template", [False, True], ids=["alone", "on a template"])
@pytest.mark.parametrize("base", [(), ("--base", "none")], ids=["stream", "stream all"])
def test_branch_that_a_stream_left_on_its_own_comes_back(qemu, chainctl, folder, template, base):
    """What was the base once is none any more, and hangs on nothing of the VM's own; the overlay of the rollback does."""
    below = images.create(folder / "golden.qcow2", "8M") if template else None
    path = images.create(folder / "vda.qcow2", None if template else "8M", backing=below, backing_fmt="qcow2" if template else None)
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    vm.qemu_io("vda", "write -P 1 0 64k")
    ctl.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", "write -P 2 0 64k")
    name = ctl.ok("rollback", "vm", "one", "--reset", "never")["rollback"]["automatic_snapshot"]
    ctl.ok("stream", "vm", *base)
    before = seen(ctl)
    assert [one["name"] for one in before[1]] == ["one", name] and ctl.ok("check", "vm")["problems"] == []
    lose(ctl)
    assert ctl.ok("state", "rebuild", folder)["warnings"] == []
    assert seen(ctl) == before and ctl.ok("check", "vm")["problems"] == []
    ctl.ok("rollback", "vm", name, "--reset", "never")
    vm.qemu_io("vda", "read -P 2 0 64k")
