"""The bare client: what a script would send that does the same and nothing else. No database, no journal, no checks,
no watchdog, no process to start. What chainctl adds to it is the price of these.
"""
import contextlib
import json
import os
import time

from support import images
from support.agent import Agent
from support.qmp import JsonLines, Qmp

BUFFER = 4 << 20  # the best of a sweep; granularities made no difference


class Disk:
    """A disk's active image: the node on top, its file, its size."""

    def __init__(self, node, path, size):
        self.node, self.path, self.size = node, path, size


def sync(path):
    """The file and its folder."""
    for name in (path, path.parent):
        descriptor = os.open(name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def file_node(name, path):
    path.touch(exist_ok=False)
    return {"driver": "file", "node-name": f"{name}f", "filename": str(path)}


def image(name, disk):
    options = {"driver": "qcow2", "file": f"{name}f", "size": disk.size}
    options |= {"backing-file": str(disk.path), "backing-fmt": "qcow2"}
    return {"job-id": name, "options": options}


def format_node(name, below=None):
    return {"driver": "qcow2", "node-name": name, "file": f"{name}f", "backing": below}


def prepare(monitor, disks, label, below=()):
    """Overlays made, synced and opened, on these nodes or on nothing yet. Returns the new heads."""
    heads, below = [], [*below] or [None] * len(disks)
    for number, disk in enumerate(disks):
        name, path = f"{label}-{number}", disk.path.with_name(f"{label}-{number}.qcow2")
        monitor.execute_raw("blockdev-add", file_node(name, path))
        monitor.execute_raw("blockdev-create", image(name, disk))
        monitor.wait_event("JOB_STATUS_CHANGE", id=name, status="concluded")
        monitor.execute("job-dismiss", id=name)
        sync(path)
        monitor.execute_raw("blockdev-add", format_node(name, below[number]))
        heads.append(Disk(name, path, disk.size))
    return heads


def switch(monitor, disks, heads):
    monitor.transaction(*[("blockdev-snapshot", {"node": old.node, "overlay": new.node})
                          for old, new in zip(disks, heads)])


def snapshot(qmp, disks, label):
    """One snapshot of all disks, from connecting to the answer; disks become the new heads."""
    with Qmp(qmp) as monitor:
        heads = prepare(monitor, disks, label)
        switch(monitor, disks, heads)
    disks[:] = heads


def quiesced_snapshot(qmp, channel, disks, label):
    """The same within a freeze, in which nothing happens but the status query and the transaction."""
    with Qmp(qmp) as monitor, Agent(channel) as agent:
        heads = prepare(monitor, disks, label)
        agent.execute("guest-fsfreeze-freeze")
        assert agent.execute("guest-fsfreeze-status") == "frozen"
        switch(monitor, disks, heads)
        agent.execute("guest-fsfreeze-thaw")
    disks[:] = heads


def commit(qmp, head):
    """The active image into its base, pivoted; the old head is closed."""
    with Qmp(qmp, timeout=300) as monitor:
        monitor.execute("block-commit", job_id="job", device=head.node, auto_dismiss=False)
        monitor.wait_event("BLOCK_JOB_READY", timeout=300, device="job")
        monitor.execute("stop")
        monitor.execute("job-complete", id="job")
        monitor.wait_event("JOB_STATUS_CHANGE", timeout=300, id="job", status="concluded")
        monitor.execute("cont")
        monitor.execute("job-dismiss", id="job")
        monitor.execute("blockdev-del", node_name=head.node)
        monitor.execute("blockdev-del", node_name=f"{head.node}f")


def mirror(qmp, node, target):
    """A whole copy to a file or URI that is there, ended once it is in step."""
    with Qmp(qmp, timeout=300) as monitor:
        monitor.execute("drive-mirror", device=node, **_mirror_words("job", target))
        monitor.wait_event("BLOCK_JOB_READY", timeout=300, device="job")
        monitor.execute("block-job-cancel", device="job")
        monitor.wait_event("BLOCK_JOB_COMPLETED", timeout=300, device="job")


def quiesced_copies(qmp, channel, nodes, folder):
    """The same of several, ended in one instant: the guest frozen, and paused."""
    with Qmp(qmp, timeout=300) as monitor, Agent(channel) as agent:
        for node in nodes:
            target = images.create(folder / f"{node}.qcow2", "128M")
            monitor.execute("drive-mirror", device=node, **_mirror_words(node, target))
        for node in nodes:
            monitor.wait_event("BLOCK_JOB_READY", timeout=300, device=node)
        agent.execute("guest-fsfreeze-freeze")
        assert agent.execute("guest-fsfreeze-status") == "frozen"
        monitor.execute("stop")
        for node in nodes:
            monitor.execute("block-job-cancel", device=node)
        for node in nodes:
            monitor.wait_event("BLOCK_JOB_COMPLETED", timeout=300, device=node)
        monitor.execute("cont")
        agent.execute("guest-fsfreeze-thaw")


def _mirror_words(job, target):
    form = "raw" if str(target).startswith("nbd") else "qcow2"
    return {"job-id": job, "target": str(target), "sync": "full", "mode": "existing", "format": form, "buf-size": BUFFER}


def stream(qmp, head):
    """All that lies below into the head."""
    with Qmp(qmp, timeout=300) as monitor:
        monitor.execute("block-stream", job_id="job", device=head.node)
        monitor.wait_event("BLOCK_JOB_COMPLETED", timeout=300, device="job")


def rollback(qmp, devices, bases, heads, label):
    """New overlays on the bases in the heads' place: all is prepared, then the guest is paused. Returns the new heads."""
    with Qmp(qmp) as monitor:
        fresh = prepare(monitor, bases, label, [base.node for base in bases])
        monitor.execute("stop")
        for device, head in zip(devices, fresh):
            monitor.execute("qom-set", path=f"/machine/peripheral/{device}/virtio-backend", property="drive", value=head.node)
        monitor.execute("cont")
        for old in heads:
            monitor.execute("blockdev-del", node_name=old.node)
            monitor.execute("blockdev-del", node_name=f"{old.node}f")
    return fresh


class Machine(JsonLines):
    """One of many: what is asked of it is read later, when all have been asked."""

    def __init__(self, path, disk):
        super().__init__(path, 60)
        self.disk, self.head, self.asked = disk, None, 0

    def ask(self, command, arguments):
        self.send({"execute": command, "arguments": arguments})
        self.asked += 1

    def settle(self, event=None):
        """Until all is answered, and the event has come where one is named; an error raises."""
        deadline = time.monotonic() + self.timeout
        while self.asked or event:
            document = json.loads(self.receive_line(deadline))
            if document.get("event") == "JOB_STATUS_CHANGE" and document["data"]["status"] == event:
                event = None
            elif "event" not in document and "QMP" not in document:
                self.result("one of many", document)
                self.asked -= 1


def snapshot_of_many(disks, label):
    """One snapshot each of {socket: Disk}: every step is begun on all before it is ended on any."""
    with contextlib.ExitStack() as stack:
        machines = [stack.enter_context(Machine(path, disk)) for path, disk in disks.items()]
        for machine in machines:
            disk = machine.disk
            machine.head = Disk(label, disk.path.with_name(f"{label}.qcow2"), disk.size)
            machine.ask("qmp_capabilities", {})
            machine.ask("blockdev-add", file_node(label, machine.head.path))
            machine.ask("blockdev-create", image(label, disk))
        for machine in machines:
            machine.settle("concluded")
            machine.ask("job-dismiss", {"id": label})
            sync(machine.head.path)
            machine.ask("blockdev-add", format_node(label))
        for machine in machines:
            machine.settle()
            pair = {"node": machine.disk.node, "overlay": machine.head.node}
            machine.ask("transaction", {"actions": [{"type": "blockdev-snapshot", "data": pair}]})
        for path, machine in zip(disks, machines):
            machine.settle()
            disks[path] = machine.head
