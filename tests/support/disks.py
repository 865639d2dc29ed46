"""Disks for a QEMU that has no guest: the words of its command line, and what a test asks of its block graph.

What is asked goes through the test's own monitor and through the file system, never through the program under test.
"""
import contextlib
import pathlib

from support import images


def escaped(text):
    """As the value of a QEMU option, where a comma stands for itself only when doubled."""
    return str(text).replace(",", ",,")


def blockdev(name, path, format="qcow2", device="virtio-blk-pci", file="", top="", more=""):
    """A disk with that qdev id on the nodes NAME-file and NAME-format; file, top and more are options to add."""
    file_node = _join(f"driver=file,node-name={name}-file,filename={escaped(path)}", file)
    format_node = _join(f"driver={format},node-name={name}-format,file={name}-file", top)
    words = ["-blockdev", file_node, "-blockdev", format_node]
    return [*words, "-device", _join(f"{device},id={name},drive={name}-format", more)]


def two(folder, size="8M"):
    """New images vda.qcow2 and vdb.qcow2 and QEMU's words for them. Returns (words, {name: path})."""
    paths = {name: images.create(folder / f"{name}.qcow2", size) for name in ("vda", "vdb")}
    return [word for name, path in paths.items() for word in blockdev(name, path)], paths


def layered(name, chain, bad=None, rule=""):
    """A disk on that chain of files, the active one first, each opened by itself, for writing; `bad` through blkdebug."""
    words, below = [], ""
    for number, path in reversed(list(enumerate(chain))):
        node = f"{name}-{number}"
        words += ["-blockdev", f"driver=file,node-name={node}-file,filename={path}"]
        if path == bad:
            words += ["-blockdev", f"driver=blkdebug,node-name={node}-bad,image={node}-file,{rule}"]
        file = f"{node}-bad" if path == bad else f"{node}-file"
        words += ["-blockdev", f"driver=qcow2,node-name={node}-format,file={file}{below}"]
        below = f",backing={node}-format"
    return [*words, "-device", f"virtio-blk-pci,id={name},drive={name}-0-format"]


def register(ctl, vm, *words, name="vm"):
    """`vm add`; returns the document's "vm"."""
    return ctl.ok("vm", "add", name, "--qmp", vm.qmp, *words)["vm"]


def nodes(vm):
    """{node name: what is true of it}, for all of QEMU's block nodes."""
    found = vm.monitor().execute("query-named-block-nodes", flat=True)
    keys = ("drv", "file", "ro", "cache", "detect_zeroes", "backing_file_depth")
    return {node["node-name"]: {key: node[key] for key in keys} for node in found}


def inserted(vm, device):
    """The node that a device is on, as query-block tells it; by qdev id or BlockBackend name."""
    for entry in vm.monitor().execute("query-block"):
        qdev = entry.get("qdev", "").removeprefix("/machine/peripheral/").removesuffix("/virtio-backend")
        if device in (qdev, entry["device"]):
            return entry["inserted"]
    raise KeyError(device)


def files(folder):
    """{path: (owner, mode, sha256)} of all files below a folder; not of SQLite's -shm, in which even readers lock."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file() and not path.name.endswith(".db-shm"):
            status = path.stat()
            found[path] = (status.st_uid, status.st_mode, images.sha256(path))
    return found


@contextlib.contextmanager
def unchanged(vm, folder):
    """Neither QEMU's nodes and jobs nor any file below the folder is another after the block than before it."""
    monitor = vm.monitor()
    before = nodes(vm), files(folder), monitor.execute("query-jobs")
    yield
    assert nodes(vm) == before[0]
    assert files(folder) == before[1]
    assert monitor.execute("query-jobs") == before[2]


def _join(*parts):
    return ",".join(part for part in parts if part)
