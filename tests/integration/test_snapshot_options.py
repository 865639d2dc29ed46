"""A snapshot does not change the disk under the guest: cache mode, AIO, discard, zero detection, seen by system calls.

Each way to say such options on QEMU's command line is compared three times: on the image that QEMU was started with,
on the first overlay (whose options come from that command line), and on the second (whose options are remembered).
"""
import contextlib
import json
import os
import pathlib
from dataclasses import dataclass

import pytest

from support import disks, images, strace

KIB = 1024
ZEROES_AT = 128 * KIB


@dataclass
class Ways:
    """How a QEMU treats an image. synced is None where system calls do not tell (io_uring flushes by itself)."""

    direct: bool = False
    engine: str = "threads"
    punched: bool = False
    synced: bool | None = True
    zeroes: bool = False


def ways(vm, device, path):
    """Writes, flushes and discards through the device, and looks what that does to the image."""
    with strace.attached(vm.pid) as calls:
        vm.qemu_io(device, f"write -P 0 {ZEROES_AT} 64k", "write -P 7 0 64k", "discard 0 64k")
    names = {call.name for call in calls if call.touches(path)}
    # Small and unaligned writes go to a thread whatever the engine; the one of 64k tells.
    if any(call.name in ("pwrite64", "pwritev") and call.result == "65536" and call.touches(path) for call in calls):
        engine = "threads"
    else:
        engine = "native" if "io_submit" in names else "io_uring"
    synced = None if engine == "io_uring" else any(syncs(call) and call.touches(path) for call in calls)
    punched = any("PUNCH_HOLE" in call.arguments and call.touches(path) for call in calls)
    return Ways(is_direct(vm.pid, path), engine, punched, synced, zeroes_detected(path))


def syncs(call):
    """Whether the call flushes: by itself, or as one of those that native AIO hands over together (QEMU from 9.2 on)."""
    return call.name in ("fdatasync", "fsync") or (call.name == "io_submit" and "IOCB_CMD_FDSYNC" in call.arguments)


def is_direct(pid, path):
    """Whether the descriptors that the process has of this file are O_DIRECT; all must agree."""
    found = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(link) == str(path):
                flags = pathlib.Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().split("flags:")[1].split()[0]
                found.add(bool(int(flags, 8) & os.O_DIRECT))
    assert len(found) == 1, f"{path}: {found}"
    return found.pop()


def zeroes_detected(path):
    """Whether the zeros that were written take no data in this very image."""
    form = images.info(path)["format"]
    for part in json.loads(images.qemu_img("map", "-U", "-f", form, "--output=json", path)):
        if part["start"] <= ZEROES_AT < part["start"] + part["length"]:
            return part["zero"] and not part["data"]
    raise AssertionError(f"{path}: {ZEROES_AT} is in no part")


def two_nodes(file="", top=""):
    return disks.blockdev("vda", "PATH", file=file, top=top)


def inline(options):
    node = f"driver=qcow2,node-name=q,file.driver=file,file.filename=PATH,{options}".rstrip(",")
    return ["-blockdev", node, "-device", "virtio-blk-pci,id=vda,drive=q"]


def as_json(top=None, file=None):
    node = {"driver": "qcow2", "node-name": "q", **(top or {})}
    node["file"] = {"driver": "file", "filename": "PATH", **(file or {})}
    device = {"driver": "virtio-blk-pci", "id": "vda", "drive": "q"}
    return ["-blockdev", json.dumps(node), "-device", json.dumps(device)]


def two_json(top=None, file=None):
    below = {"driver": "file", "node-name": "f", "filename": "PATH", **(file or {})}
    node = {"driver": "qcow2", "node-name": "q", "file": "f", **(top or {})}
    return ["-blockdev", json.dumps(below), "-blockdev", json.dumps(node), "-device", "virtio-blk-pci,id=vda,drive=q"]


def drive(options):
    return ["-drive", f"if=none,id=d,{options}", "-device", "virtio-blk-pci,id=vda,drive=d"]


DIRECT = {"cache": {"direct": True}}
JSON_FILE = {"driver": "qcow2", "file": {"driver": "file", "filename": "PATH", "aio": "native", **DIRECT}}
SPELLINGS = {
    "defaults": (two_nodes(), Ways()),
    "direct on both nodes": (two_nodes("cache.direct=on", "cache.direct=on"), Ways(direct=True)),
    "direct on the file node": (two_nodes("cache.direct=on"), Ways(direct=True)),
    "direct on the format node": (two_nodes(top="cache.direct=on"), Ways()),
    "native": (two_nodes("cache.direct=on,aio=native"), Ways(direct=True, engine="native")),
    "io_uring": (two_nodes("aio=io_uring"), Ways(engine="io_uring", synced=None)),
    "io_uring direct": (two_nodes("aio=io_uring,cache.direct=on"), Ways(direct=True, engine="io_uring", synced=None)),
    "discard on both": (two_nodes("discard=unmap", "discard=unmap"), Ways(punched=True)),
    "discard on the file node": (two_nodes("discard=unmap"), Ways()),
    "discard on the format node": (two_nodes(top="discard=unmap"), Ways()),
    "no flush on both": (two_nodes("cache.no-flush=on", "cache.no-flush=on"), Ways(synced=False)),
    "no flush on the file node": (two_nodes("cache.no-flush=on"), Ways(synced=False)),
    "zeroes": (two_nodes(top="detect-zeroes=on"), Ways(zeroes=True)),
    "zeroes unmapped": (
        two_nodes("discard=unmap", "discard=unmap,detect-zeroes=unmap"),
        Ways(zeroes=True, punched=True),
    ),
    "inline native": (inline("cache.direct=on,file.aio=native"), Ways(direct=True, engine="native")),
    "inline discard": (inline("discard=unmap"), Ways(punched=True)),
    "inline discard, not in the file": (inline("discard=unmap,file.discard=ignore"), Ways()),
    "inline no flush": (inline("cache.no-flush=on"), Ways(synced=False)),
    "inline with a name": (
        inline("file.node-name=f,file.cache.direct=on,file.aio=native,discard=unmap"),
        Ways(direct=True, engine="native", punched=True),
    ),
    "json inline": (
        as_json({**DIRECT, "discard": "unmap"}, {"aio": "native"}),
        Ways(direct=True, engine="native", punched=True),
    ),
    "json two nodes": (
        two_json({"discard": "unmap", "detect-zeroes": "on"}, {"aio": "io_uring", "discard": "unmap"}),
        Ways(engine="io_uring", synced=None, punched=True, zeroes=True),
    ),
    "drive": (drive("format=qcow2,file=PATH"), Ways()),
    "drive cache none, native": (
        drive("format=qcow2,file=PATH,cache=none,aio=native,discard=unmap"),
        Ways(direct=True, engine="native", punched=True),
    ),
    "drive native in its file": (
        drive("driver=qcow2,file.driver=file,file.filename=PATH,file.aio=native,cache.direct=on"),
        Ways(direct=True, engine="native"),
    ),
    "drive discard only above its file": (
        drive("driver=qcow2,file.driver=file,file.filename=PATH,file.discard=ignore,discard=unmap"),
        Ways(),
    ),
    "drive discard spelled on": (drive("format=qcow2,file=PATH,discard=on"), Ways(punched=True)),
    "drive io_uring": (drive("format=qcow2,file=PATH,aio=io_uring"), Ways(engine="io_uring", synced=None)),
    "drive unsafe": (drive("format=qcow2,file=PATH,cache=unsafe"), Ways(synced=False)),
    "drive directsync": (drive("format=qcow2,file=PATH,cache=directsync"), Ways(direct=True)),
    "drive writethrough": (drive("format=qcow2,file=PATH,cache=writethrough"), Ways()),
    "drive zeroes unmapped": (
        drive("format=qcow2,file=PATH,discard=unmap,detect-zeroes=unmap"),
        Ways(zeroes=True, punched=True),
    ),
    "drive without ids": (
        ["-drive", "if=virtio,format=qcow2,file=PATH,cache=none,aio=native"],
        Ways(direct=True, engine="native"),
    ),
    "drive that is json": (
        drive(f"file=json:{json.dumps(JSON_FILE)}".replace(",", ",,")),
        Ways(direct=True, engine="native"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_overlays_are_treated_as_the_image_was(qemu, chainctl, tmp_path, spelling):
    words, expected = SPELLINGS[spelling]
    base = images.create(tmp_path / "base.qcow2", "8M")
    vm, ctl = qemu([word.replace("PATH", str(base)) for word in words]), chainctl()
    name = "virtio0" if "if=virtio" in words[1] else "vda"
    device = name if name == "vda" else "/machine/peripheral-anon/device[0]"
    assert ways(vm, device, base) == expected, "the test's own idea of this spelling"
    node = disks.inserted(vm, name)
    disks.register(ctl, vm, "--quiesce", "off")
    for point in ("one", "two"):
        assert ctl.ok("snapshot", "vm", point)["warnings"] == []
        overlay = tmp_path / f"base.{point}.qcow2"
        assert vm.monitor().chain(name)[0] == str(overlay)
        assert ways(vm, device, overlay) == expected, point
        now = disks.inserted(vm, name)
        assert (now["cache"], now["detect_zeroes"]) == (node["cache"], node["detect_zeroes"]), point


def test_options_that_cannot_be_seen_are_said_to_be_guessed(qemu, chainctl, tmp_path):
    base, vm, ctl = images.create(tmp_path / "base.qcow2", "8M"), qemu(["-device", "pcie-root-port,id=rp0"]), chainctl()
    monitor = vm.monitor()
    cache = {"direct": True}
    monitor.execute("blockdev-add", driver="file", node_name="f", filename=str(base), aio="native", cache=cache)
    monitor.execute("blockdev-add", driver="qcow2", node_name="q", file="f", detect_zeroes="on")
    monitor.execute("device_add", driver="virtio-blk-pci", id="vda", drive="q", bus="rp0")
    disks.register(ctl, vm, "--quiesce", "off")
    [warning] = ctl.ok("snapshot", "vm", "one")["warnings"]
    assert warning["code"] == "options-unknown" and "vda" in warning["message"] and "aio" in warning["message"]
    assert ways(vm, "vda", tmp_path / "base.one.qcow2") == Ways(direct=True, zeroes=True)
