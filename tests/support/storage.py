"""A qemu-storage-daemon for one test: disks without a machine, exported over NBD on a Unix socket.

As with a QEMU, `qmp` is for the program under test and `monitor()` is the test's own. What is behind an export is read
and written over NBD, by qemu-io and qemu-img.
"""
import contextlib
import json

from support import images, nbd
from support.monitored import Monitored
from support.process import program


def blockdev(node, path, format="qcow2", **options):
    """A format node on a file node, as words; more options are the format node's."""
    file = {"driver": "file", "filename": str(path), "node-name": f"{node}-file"}
    return ["--blockdev", json.dumps({"driver": format, "node-name": node, "file": file, **options})]


def export(name, node):
    """A writable export of a node, called `name` for both: QMP's id, and NBD's name."""
    return ["--export", json.dumps({"type": "nbd", "id": name, "node-name": node, "name": name, "writable": True})]


@contextlib.contextmanager
def fleet(ctl, folder, names, *options, monitor=None):
    """A registered StorageDaemon of each name, with one disk "disk" on NAME.qcow2. Yields {name: daemon}.

    monitor(name, daemon, stack), where given, is the socket to register: of something that stands before the daemon's.
    """
    with contextlib.ExitStack() as stack:
        made = {}
        for name in names:
            path = images.create(folder / f"{name}.qcow2", "8M")
            made[name] = stack.enter_context(StorageDaemon([*blockdev("node", path), *export("disk", "node")]))
            address = monitor(name, made[name], stack) if monitor else made[name].qmp
            ctl.ok("vm", "add", name, "--qmp", address, *options)
        yield made


class StorageDaemon(Monitored):
    """`with StorageDaemon([*blockdev("a", path), *export("disk", "a")]) as daemon:`; its exports are there when it is."""

    def __init__(self, words=()):
        super().__init__()
        self.arguments, self.nbd = list(words), self.folder / "nbd"

    def command_line(self, monitor_fd):
        return [program("qemu-storage-daemon"), *self._sockets(monitor_fd), *self.arguments]

    def start(self):
        self.nbd.unlink(missing_ok=True)
        return super().start()

    def uri(self, export):
        return f"nbd+unix:///{export}?socket={self.nbd}"

    def qemu_io(self, export, *commands):
        """Reads or writes over NBD, then flushes; a pattern that is not there raises."""
        nbd.qemu_io(self.uri(export), *commands)

    def files(self):
        """{node name: its file} for all nodes."""
        found = self.monitor().execute("query-named-block-nodes", flat=True)
        return {node["node-name"]: node["file"] for node in found}

    def edges(self):
        """{(node above, child's role): node below}, of what lies under what."""
        graph = self.monitor().execute("x-debug-query-block-graph")
        names = {node["id"]: node["name"] for node in graph["nodes"] if node["type"] == "block-driver"}
        return {(names[edge["parent"]], edge["name"]): names[edge["child"]]
                for edge in graph["edges"] if edge["parent"] in names}  # fmt: skip

    def chain(self, export):
        """The files under an export, the active image first; filters left out."""
        exports = {entry["id"]: entry["node-name"] for entry in self.monitor().execute("query-block-exports")}
        edges, files, found, node = self.edges(), self.files(), [], exports[export]
        while node:
            file, backing = edges.get((node, "file")), edges.get((node, "backing"))
            if backing or (file and (file, "file") not in edges):
                found.append(files[file])
                node = backing
            else:
                node = file
        return found

    def _sockets(self, fd):
        return [
            *("--chardev", f"socket,id=qmp,path={self.qmp},server=on,wait=off", "--monitor", "chardev=qmp"),
            *("--chardev", f"socket,id=test,fd={fd},server=on,wait=off", "--monitor", "chardev=test"),
            *("--nbd-server", f"addr.type=unix,addr.path={self.nbd},max-connections=0"),
        ]
