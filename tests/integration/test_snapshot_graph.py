"""Which disks a snapshot takes, by which names, and that it leaves the rest of QEMU's graph as it is."""
import os
import pathlib
import time

import pytest

from support import disks, images
from support.chainctl import finish

MIB = 1 << 20
TRICKY = [
    "with space", "with,comma", "with,,two=commas", 'quo"te', "apos'trophe", "per%cent%s%n", "new\nline", "back\\slash",
    "ünïcode", "json:{}", "nbd:localhost:10809", "file:name", "-rf", "#block123", "semi;$(touch x)", "tab\tbed",
]  # fmt: skip


def disk_names(document):
    return [disk["disk"] for disk in document["disks"]]


def test_golden_image_below_two_disks_and_two_machines_is_never_written(qemu, chainctl, folder):
    golden, ctl = images.create(folder / "golden.qcow2", "8M"), chainctl()
    images.write(golden, "write -P 3 0 1M")
    before = golden.stat().st_mtime_ns, images.sha256(golden)
    machines = {}
    for name in ("one", "two"):
        words = []
        for disk in ("vda", "vdb"):
            path = images.create(folder / f"{name}-{disk}.qcow2", None, backing=golden)
            words += disks.blockdev(disk, path, file="locking=off")
        machines[name] = qemu(words)
        disks.register(ctl, machines[name], name=name)
    for name, vm in machines.items():
        for point in ("p", "q"):
            vm.qemu_io("vda", "write -P 4 64k 64k")
            ctl.ok("snapshot", name, point)
        for disk in ("vda", "vdb"):
            names = [f"{name}-{disk}.q.qcow2", f"{name}-{disk}.p.qcow2", f"{name}-{disk}.qcow2", "golden.qcow2"]
            assert vm.monitor().chain(disk) == [str(folder / name) for name in names]
        vm.qemu_io("vda", "read -P 3 0 64k")
        vm.qemu_io("vda", "read -P 4 64k 64k")
        vm.qemu_io("vdb", "read -P 3 64k 64k")
        tree = ctl.ok("tree", name)["disks"]
        states = {image["path"]: image["state"] for disk in tree for image in disk["images"]}
        assert states[str(golden)] == "foreign" and states[str(folder / f"{name}-vda.qcow2")] == "backing"
    assert (golden.stat().st_mtime_ns, images.sha256(golden)) == before


@pytest.mark.parametrize("whose", ["active", "backing"])
def test_image_of_another_machine_cannot_be_added_as_a_disk(qemu, chainctl, folder, whose):
    golden = images.create(folder / "golden.qcow2", "1M")
    top, ctl = images.create(folder / "top.qcow2", None, backing=golden), chainctl()
    disks.register(ctl, qemu(disks.blockdev("vda", top, file="locking=off")), name="first")
    shared = top if whose == "active" else golden
    second = qemu(disks.blockdev("vda", shared, file="locking=off", top="read-only=off"))
    with disks.unchanged(second, folder):
        ctl.fails(9, "vm", "add", "second", "--qmp", second.qmp)
    assert [vm["name"] for vm in ctl.ok("vm", "list")["vms"]] == ["first"]


def chain_of(folder, depth):
    """d000.qcow2 <- d001.qcow2 and so on; made from one header, as 200 runs of qemu-img take 4 s."""
    images.create(folder / "d000.qcow2", "8M")
    header = images.create(folder / "d001.qcow2", None, backing=folder / "d000.qcow2").read_bytes()
    for number in range(2, depth):
        (folder / f"d{number:03}.qcow2").write_bytes(header.replace(b"/d000.", b"/d%03d." % (number - 1)))


def test_depth_of_200_costs_no_more_than_a_second_a_snapshot(qemu, chainctl, folder):
    path = folder / "d199.qcow2"
    chain_of(folder, 200)
    images.write(folder / "d000.qcow2", "write -P 6 0 64k")
    vm, ctl = qemu(disks.blockdev("vda", path)), chainctl()
    assert len(vm.monitor().chain("vda")) == 200
    disks.register(ctl, vm)
    began = time.monotonic()
    for number in range(5):
        ctl.ok("snapshot", "vm", f"s{number}")
    took = time.monotonic() - began
    chain = vm.monitor().chain("vda")
    assert len(chain) == 205 and chain[:2] == [str(folder / "d199.s4.qcow2"), str(folder / "d199.s3.qcow2")]
    vm.qemu_io("vda", "read -P 6 0 64k")
    assert took < 5, f"five snapshots took {took:.1f} s"
    assert len(ctl.ok("tree", "vm")["disks"][0]["images"]) == 205
    assert ctl.ok("check", "vm")["problems"] == []


def test_machines_snapshotted_at_once_share_one_database(qemu, chainctl, folder):
    ctl, machines = chainctl(), {}
    for name in ("one", "two", "three", "four"):
        machines[name] = qemu(disks.blockdev("vda", images.create(folder / f"{name}.qcow2", "1M")))
        disks.register(ctl, machines[name], name=name)
    for point in ("p", "q"):
        started = [ctl.start("snapshot", name, point) for name in machines]
        assert [finish(one).status for one in started] == [0] * len(machines)
    for name, vm in machines.items():
        names = [f"{name}.q.qcow2", f"{name}.p.qcow2", f"{name}.qcow2"]
        assert vm.monitor().chain("vda") == [str(folder / file) for file in names]
        assert [entry["name"] for entry in ctl.ok("list", name)["snapshots"]] == ["p", "q"]
        assert ctl.ok("check", name)["problems"] == []


BUSES = {
    "virtio-blk": ([], "virtio-blk-pci,id=a", "a"),
    "scsi-hd": (["-device", "virtio-scsi-pci,id=scsi0"], "scsi-hd,bus=scsi0.0,id=b", "b"),
    "ide-hd": ([], "ide-hd,bus=ide.0,id=c", "c"),
    "nvme": ([], "nvme,serial=x,id=d", "d"),
    "usb-storage": (["-device", "qemu-xhci,id=xhci"], "usb-storage,bus=xhci.0,id=e", "e"),
    "scsi-removable": (["-device", "virtio-scsi-pci,id=scsi0"], "scsi-hd,bus=scsi0.0,removable=on,id=f", "f"),
    "no id": ([], "virtio-blk-pci", "device[0]"),
    "path with id": (["-device", "virtio-scsi-pci,id=scsi0"], "scsi-hd,bus=scsi0.0,id=a.b_c-d", "a.b_c-d"),
}


@pytest.mark.parametrize("bus", BUSES)
def test_disk_on_a_bus_is_called_by_its_id_and_snapshotted(qemu, chainctl, folder, bus):
    before, device, name = BUSES[bus]
    base = images.create(folder / "base.qcow2", "8M")
    words = ["-blockdev", f"driver=file,node-name=f,filename={base}", "-blockdev", "driver=qcow2,node-name=q,file=f"]
    vm, ctl = qemu([*before, *words, "-device", f"{device},drive=q"]), chainctl()
    registered = disk_names(disks.register(ctl, vm))
    assert registered == [name]
    ctl.ok("snapshot", "vm", "one", "--disk", name)
    [entry] = [entry for entry in vm.monitor().execute("query-block") if "inserted" in entry]
    assert entry["inserted"]["image"]["filename"] == str(folder / "base.one.qcow2")
    assert entry["inserted"]["image"]["backing-image"]["filename"] == str(base)
    assert ctl.ok("check", "vm")["problems"] == []


def test_legacy_drives_without_ids_are_called_by_their_backend(qemu, chainctl, folder):
    one, two = images.create(folder / "one.qcow2", "8M"), images.create(folder / "two.raw", "8M", "raw")
    words = ["-drive", f"if=virtio,format=qcow2,file={one}", "-drive", f"if=virtio,format=raw,file={two},id=mine"]
    vm, ctl = qemu(words), chainctl()
    assert disk_names(disks.register(ctl, vm)) == ["virtio0", "mine"]
    ctl.ok("snapshot", "vm", "p")
    ctl.ok("snapshot", "vm", "q")
    names = ("one.q.qcow2", "one.p.qcow2", "one.qcow2")
    assert vm.monitor().chain("virtio0") == [str(folder / name) for name in names]
    assert vm.monitor().chain("mine")[1:] == [str(folder / "two.p.qcow2"), str(two)]


def test_legacy_drive_with_a_device_is_called_by_the_devices_id(qemu, chainctl, folder):
    base = images.create(folder / "base.qcow2", "8M")
    vm = qemu(["-drive", f"if=none,id=back,format=qcow2,file={base}", "-device", "virtio-blk-pci,id=front,drive=back"])
    ctl = chainctl()
    assert disk_names(disks.register(ctl, vm)) == ["front"]
    ctl.fails(3, "snapshot", "vm", "p", "--disk", "back")
    ctl.ok("snapshot", "vm", "p")
    assert vm.monitor().chain("front")[0] == str(folder / "base.p.qcow2")


@pytest.mark.parametrize("count", [1, 2])
def test_throttle_filters_above_the_disk_stay_and_throttle_on(qemu, chainctl, folder, count):
    base = images.create(folder / "base.qcow2", "8M")
    words = ["-blockdev", f"driver=file,node-name=f,filename={base}"]
    words += ["-blockdev", "driver=qcow2,node-name=below,file=f"]
    below = "below"
    for number in range(count):
        words += ["-object", f"throttle-group,id=g{number},x-iops-total=1000"]
        words += ["-blockdev", f"driver=throttle,node-name=t{number},throttle-group=g{number},file={below}"]
        below = f"t{number}"
    vm, ctl = qemu([*words, "-device", f"virtio-blk-pci,id=vda,drive={below}"]), chainctl()
    disks.register(ctl, vm)
    for point in ("one", "two"):
        ctl.ok("snapshot", "vm", point)
        assert disks.inserted(vm, "vda")["node-name"] == below
    drivers = {name: node["drv"] for name, node in disks.nodes(vm).items()}
    assert [drivers[f"t{number}"] for number in range(count)] == ["throttle"] * count
    chain = vm.monitor().chain("vda")
    assert chain == [str(folder / name) for name in ("base.two.qcow2", "base.one.qcow2", "base.qcow2")]
    vm.qemu_io("vda", "write -P 5 0 64k")
    vm.kill()
    assert images.to_raw(chain[0], folder / "raw").read_bytes()[:65536] == b"\5" * 65536


def test_limits_of_a_legacy_drive_stay(qemu, chainctl, folder):
    base = images.create(folder / "base.qcow2", "8M")
    words = ["-drive", f"if=none,id=back,format=qcow2,file={base},throttling.iops-total=777,throttling.group=g"]
    vm, ctl = qemu([*words, "-device", "virtio-blk-pci,id=vda,drive=back"]), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    node = disks.inserted(vm, "vda")
    assert (node["iops"], node["group"], node["image"]["filename"]) == (777, "g", str(folder / "base.one.qcow2"))


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_cdrom_floppy_and_flash_are_skipped_and_said(qemu, chainctl, folder, machine):
    base, cd = images.create(folder / "base.qcow2", "8M"), images.create(folder / "cd.iso", "2M", "raw")
    floppy, flash = images.create(folder / "fd.img", "1440k", "raw"), images.create(folder / "vars.fd", "256k", "raw")
    words = ["-drive", f"if=pflash,format=raw,file={flash},unit=0", *disks.blockdev("vda", base)]
    words += ["-device", "virtio-scsi-pci,id=scsi0", "-device", "scsi-cd,bus=scsi0.0,id=empty"]
    words += ["-blockdev", f"driver=raw,node-name=cd,file.driver=file,file.filename={cd},read-only=on"]
    words += ["-device", "ide-cd,bus=ide.1,id=loaded,drive=cd", "-device", "isa-fdc,id=fdc"]
    words += ["-blockdev", f"driver=raw,node-name=fd,file.driver=file,file.filename={floppy}"]
    vm, ctl = qemu([*words, "-device", "floppy,bus=fdc.0,drive=fd,id=fd0"], machine=machine), chainctl()
    vm_said = disks.register(ctl, vm)
    assert disk_names(vm_said) == ["vda"]
    skipped = {entry["device"]: entry["why"] for entry in vm_said["skipped"]}
    assert skipped.pop("empty") == skipped.pop("loaded") == "CD-ROM"
    assert sorted(skipped.values()) == ["flash", "floppy"]
    for word in ("empty", "loaded", "CD-ROM", "floppy", "flash"):
        assert word in ctl.run("vm", "show", "vm", json_output=False).out
    said = ctl.ok("snapshot", "vm", "one", "--quiesce", "off")
    assert [part["disk"] for part in said["snapshot"]["disks"]] == ["vda"] and said["warnings"] == []
    kept = {node["file"] for node in disks.nodes(vm).values()}
    assert {str(cd), str(floppy), str(flash)} <= kept
    assert sorted(path.name for path in folder.iterdir()) == [
        "base.one.qcow2", "base.one.qcow2.chainctl", "base.qcow2", "cd.iso", "fd.img", "vars.fd",
    ]  # fmt: skip


def test_read_only_disk_is_left_out_and_refused_where_named(qemu, chainctl, folder):
    base, fixed = images.create(folder / "base.qcow2", "8M"), images.create(folder / "fixed.qcow2", "8M")
    words = disks.blockdev("vda", base) + disks.blockdev("vdb", fixed, top="read-only=on")
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    with disks.unchanged(vm, folder):
        assert "read-only" in ctl.fails(9, "snapshot", "vm", "no", "--disk", "vdb")["message"]
    said = ctl.ok("snapshot", "vm", "one")
    assert [part["disk"] for part in said["snapshot"]["disks"]] == ["vda"]
    assert vm.monitor().chain("vdb") == [str(fixed)]


def test_chosen_excluded_and_ignored_disks(qemu, chainctl, folder):
    words = []
    for name in ("vda", "vdb", "vdc"):
        words += disks.blockdev(name, images.create(folder / f"{name}.qcow2", "1M"))
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm, "--ignore-disk", "vdc")

    def taken(*options):
        return [part["disk"] for part in ctl.ok("snapshot", "vm", *options)["snapshot"]["disks"]]

    assert taken("all") == ["vda", "vdb"]
    assert taken("no-a", "--exclude", "vda") == ["vdb"]
    assert taken("only-b-c", "--disk", "vdc", "--disk", "vdb") == ["vdb", "vdc"]
    assert [len(vm.monitor().chain(name)) for name in ("vda", "vdb", "vdc")] == [2, 4, 2]
    with disks.unchanged(vm, folder):
        ctl.fails(3, "snapshot", "vm", "x", "--disk", "vdd")
        ctl.fails(3, "snapshot", "vm", "x", "--exclude", "vdd")
        ctl.fails(2, "snapshot", "vm", "x", "--disk", "vda", "--exclude", "vda")


def test_hot_plugged_disk_is_warned_of_and_left_alone(qemu, chainctl, folder):
    words, _ = disks.two(folder)
    vm, ctl = qemu([*words, "-device", "pcie-root-port,id=rp0"]), chainctl()
    disks.register(ctl, vm)
    new, monitor = images.create(folder / "new.qcow2", "1M"), vm.monitor()
    monitor.execute("blockdev-add", driver="file", node_name="nf", filename=str(new))
    monitor.execute("blockdev-add", driver="qcow2", node_name="nq", file="nf")
    monitor.execute("device_add", driver="virtio-blk-pci", id="vdc", drive="nq", bus="rp0")
    said = ctl.ok("snapshot", "vm", "one", "--quiesce", "off")
    assert [part["disk"] for part in said["snapshot"]["disks"]] == ["vda", "vdb"]
    assert ["disk-added"] == [warning["code"] for warning in said["warnings"]]
    assert "vdc" in said["warnings"][0]["message"]
    assert monitor.chain("vdc") == [str(new)]


def test_unplugged_disk_is_drift(qemu, chainctl, folder):
    words, _ = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    vm.kill()
    vm.arguments = words[:6]
    vm.start()
    with disks.unchanged(vm, folder):
        error = ctl.fails(9, "snapshot", "vm", "one")
    assert error["code"] == "drift" and "vdb" in error["message"] and error["hint"]


def test_machine_on_another_image_than_the_active_one_is_drift(qemu, chainctl, folder):
    words, paths = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    vm.kill()
    vm.start()
    with disks.unchanged(vm, folder):
        error = ctl.fails(9, "snapshot", "vm", "two")
        assert error["code"] == "drift"
        assert str(paths["vda"]) in error["message"] and "vda.one.qcow2" in error["message"]
        assert ctl.fails(9, "path", "vm", "vda")["code"] == "drift"
    plain = ctl.run("path", "vm", "vda", json_output=False)
    assert plain.status == 9 and plain.out == "" and plain.err


def test_same_image_by_another_path_is_no_drift(qemu, chainctl, folder):
    base = images.create(folder / "base.qcow2", "1M")
    vm, ctl = qemu(disks.blockdev("vda", base)), chainctl()
    disks.register(ctl, vm)
    os.link(base, folder / "link.qcow2")
    vm.kill()
    vm.arguments = disks.blockdev("vda", folder / "link.qcow2")
    vm.start()
    ctl.ok("snapshot", "vm", "one")
    assert len(vm.monitor().chain("vda")) == 2


def test_disk_resized_between_snapshots_keeps_its_new_size(qemu, chainctl, folder):
    words, _ = disks.two(folder)
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    head = disks.inserted(vm, "vdb")["node-name"]
    vm.monitor().execute("block_resize", node_name=head, size=12 * MIB)
    said = ctl.ok("snapshot", "vm", "two")
    assert disks.inserted(vm, "vdb")["image"]["virtual-size"] == 12 * MIB
    assert images.info(folder / "vdb.two.qcow2")["virtual-size"] == 12 * MIB
    assert images.info(folder / "vda.two.qcow2")["virtual-size"] == 8 * MIB
    assert "resized" in [warning["code"] for warning in said["warnings"]]
    vm.qemu_io("vdb", "write -P 8 11M 64k")
    assert ctl.ok("snapshot", "vm", "three", "--quiesce", "off")["warnings"] == []
    vm.qemu_io("vdb", "read -P 8 11M 64k")


@pytest.mark.parametrize("style", ["blockdev", "drive"])
def test_relative_names_on_qemus_command_line_mean_qemus_folder(qemu, chainctl, folder, monkeypatch, style):
    golden = images.create(folder / "golden.qcow2", "1M")
    images.qemu_img("create", "-q", "-f", "qcow2", "-b", "golden.qcow2", "-F", "qcow2", folder / "base.qcow2", "1M")
    monkeypatch.chdir(folder)
    if style == "blockdev":
        words = disks.blockdev("vda", "base.qcow2")
    else:
        words = ["-drive", "if=none,id=d,format=qcow2,file=base.qcow2", "-device", "virtio-blk-pci,id=vda,drive=d"]
    vm, ctl = qemu(words), chainctl()
    monkeypatch.chdir("/")
    registered = disks.register(ctl, vm)["disks"][0]
    assert (registered["path"], registered["base"]) == (str(folder / "base.qcow2"), str(folder / "base.qcow2"))
    ctl.ok("snapshot", "vm", "one")
    assert images.info(folder / "base.one.qcow2")["backing-filename"] == str(folder / "base.qcow2")
    names = [entry["filename"] for entry in images.chain(folder / "base.one.qcow2")]
    assert names == [str(folder / "base.one.qcow2"), str(folder / "base.qcow2"), str(golden)]
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("word", TRICKY)
def test_awkward_names_survive_to_a_qemu_that_opens_the_chain_by_itself(qemu, chainctl, tmp_path, monkeypatch, word):
    folder = tmp_path / f"in {word}".replace("/", "")
    folder.mkdir()
    base = folder / f"{word}.qcow2"
    images.create(base, "1M")
    vm, ctl = qemu(disks.blockdev("vda", base)), chainctl()
    vm.qemu_io("vda", "write -P 7 0 64k")
    registered = disks.register(ctl, vm)["disks"][0]
    assert registered["path"] == str(base)
    for point in ("one", "two"):
        ctl.ok("snapshot", "vm", point)
    top = folder / f"{word}.two.qcow2"
    assert vm.monitor().chain("vda") == [str(top), str(folder / f"{word}.one.qcow2"), str(base)]
    assert images.info(top)["backing-filename"] == str(folder / f"{word}.one.qcow2")
    assert ctl.ok("check", "vm")["problems"] == []
    value = ctl.ok("path", "vm", "vda")["blockdev"]
    plain = ctl.run("path", "vm", "vda", "--blockdev", json_output=False)
    assert (plain.status, plain.out) == (0, value + "\n")
    vm.kill()
    vm.arguments = ["-blockdev", f"node-name=q,{value}", "-device", "virtio-blk-pci,id=vda,drive=q"]
    vm.start()
    vm.qemu_io("vda", "read -P 7 0 64k")
    assert ctl.ok("snapshot", "vm", "three")["snapshot"]["disks"][0]["image"] == str(top)


@pytest.mark.parametrize("word", ["json:{}.qcow2", "nbd:localhost:10809", "with:colon.qcow2"])
def test_relative_name_that_looks_like_a_protocol_is_a_file(qemu, chainctl, folder, monkeypatch, word):
    base = images.create(folder / word, "1M")
    monkeypatch.chdir(folder)
    vm, ctl = qemu(disks.blockdev("vda", word)), chainctl()
    monkeypatch.chdir("/")
    assert disks.register(ctl, vm)["disks"][0]["path"] == str(base)
    ctl.ok("snapshot", "vm", "one")
    overlay, note = sorted(path for path in folder.iterdir() if path != base)
    assert note == overlay.with_name(f"{overlay.name}.chainctl")
    assert images.info(overlay)["backing-filename"] == str(base)


def test_name_that_is_not_utf8_is_refused_and_nothing_changes(qemu, chainctl, folder):
    base = pathlib.Path(os.fsdecode(bytes(folder) + b"/bad\xff.qcow2"))
    images.create(folder / "good.qcow2", "1M")
    os.rename(folder / "good.qcow2", base)
    vm, ctl = qemu(disks.blockdev("vda", base)), chainctl()
    with disks.unchanged(vm, folder):
        added = ctl.run("vm", "add", "vm", "--qmp", vm.qmp)
        refused = added if added.status else ctl.run("snapshot", "vm", "one")
    assert refused.status == 9 and "UTF-8" in refused.out
