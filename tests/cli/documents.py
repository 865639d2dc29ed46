"""The shapes of chainctl's JSON documents, as a script may rely on them.

A shape is a type of this file, a list of one shape, or a dict of the keys that must be there; more keys may be.
"""
import json
import re

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def text(value):
    return isinstance(value, str)


def boolean(value):
    return value is True or value is False


def size(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def uuid(value):
    return text(value) and bool(ID.fullmatch(value))


def time(value):
    return text(value) and bool(TIME.fullmatch(value))


def path(value):
    return text(value) and value.startswith("/") and "/../" not in value and "//" not in value


def one_of(*values):
    return lambda value: value in values


def or_null(shape):
    return lambda value: value is None or matches(value, shape)


def matches(value, shape):
    return mismatch(value, shape) is None


def mismatch(value, shape, where="$"):
    """Where the value has not the shape, in words; None where it has."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is no object: {value!r}"
        missing = [key for key in shape if key not in value]
        if missing:
            return f"{where} lacks {missing}"
        return next(filter(None, (mismatch(value[key], part, f"{where}.{key}") for key, part in shape.items())), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is no array: {value!r}"
        parts = (mismatch(part, shape[0], f"{where}[{number}]") for number, part in enumerate(value))
        return next(filter(None, parts), None)
    return None if shape(value) else f"{where} is {value!r}"


def only_document(output):
    """The one document that stdout is; anything beside it, a key said twice, or a NaN fails the test."""

    def no_key_twice(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"a key twice: {keys}"
        return dict(pairs)

    def no_constant(word):
        raise AssertionError(f"{word} is no JSON")

    assert output.endswith("\n"), f"no newline at the end of {output[-80:]!r}"
    document = json.loads(output, object_pairs_hook=no_key_twice, parse_constant=no_constant)
    assert isinstance(document, dict) and document["schema"] == 1, output
    return document


WARNINGS = [{"code": text, "message": text}]
DISK = {"disk": text, "device": or_null(text), "node": or_null(text), "path": path, "format": text,
        "virtual_size": size, "base": path}  # fmt: skip
VM_LINE = {"name": text, "uuid": or_null(uuid), "qmp": path, "agent": or_null(text), "guest": or_null(text),
           "quiesce": one_of("auto", "require", "off"),
           "state": one_of("running", "paused", "shut-off", "unreachable")}  # fmt: skip
VM = {**VM_LINE, "disks": [DISK]}
CHANGES = [{"disk": or_null(text), "what": text}]
SNAPSHOT = {"id": uuid, "name": text, "vm": text, "created": time, "description": text, "tags": [text],
            "protected": boolean, "automatic": boolean,
            "consistency": one_of("application", "filesystem", "crash", "offline"), "reason": or_null(text),
            "frozen_us": or_null(size),
            "disks": [{"disk": text, "image": path, "overlay": or_null(path)}]}  # fmt: skip
ACTIVE = [{"disk": text, "before": path, "after": path}]
SNAPSHOT_LINE = {**SNAPSHOT, "size": size}
IMAGE = {"path": path, "parent": or_null(path), "format": text, "virtual_size": size, "allocated": size,
         "state": one_of("active", "backing", "branch", "foreign", "missing"), "snapshots": [text],
         "job": or_null({"op": uuid, "verb": text, "job": text, "status": or_null(text), "current": size, "total": size})}  # fmt: skip
TREE = {"disk": text, "active": path, "base": path, "images": [IMAGE]}
OPERATION = {"op": uuid, "verb": text, "vm": text, "by": text, "started": time, "ended": or_null(time),
             "state": text, "error": or_null(text)}  # fmt: skip
PROBLEM = {"code": text, "severity": one_of("error", "warning"), "disk": or_null(text), "path": or_null(path),
           "message": text, "repair": or_null(text)}  # fmt: skip
MERGES = [{"disk": text, "job": text, "top": path, "base": or_null(path), "bytes": size, "merged": boolean, "pivoted": boolean,
           "removed": [path], "freed": size}]  # fmt: skip
MERGED = {"merges": MERGES, "snapshots_removed": [text], "active": ACTIVE, "frozen_us": or_null(size),
          "paused_us": or_null(size)}  # fmt: skip
MIRRORED = {"mirrors": [{"disk": text, "job": text, "target": text, "bytes": size,
                         "state": one_of("finished", "pivoted", "following")}],
            "consistency": or_null(one_of("application", "filesystem", "crash", "offline")), "reason": or_null(text),
            "active": ACTIVE, "automatic_snapshot": or_null(text), "frozen_us": or_null(size),
            "paused_us": or_null(size)}  # fmt: skip
JOB = {"vm": text, "disk": or_null(text), "job": text, "op": or_null(uuid), "type": text, "status": text,
       "current": size, "total": size, "speed": size, "ours": boolean}  # fmt: skip
JOBS = {"jobs": [JOB]}
ERROR = {"code": text, "message": text, "hint": or_null(text)}

SHAPES = {
    "vm add": {"vm": VM, "adopted": [text]},
    "vm set": {"vm": VM},
    "vm rescan": {"vm": VM, "changes": CHANGES},
    "vm discover": {"vms": [{**VM_LINE, "registered": or_null(text), "libvirt": boolean}]},
    "vm show": {"vm": VM},
    "vm list": {"vms": [VM_LINE]},
    "vm remove": {"vm": VM, "changes": CHANGES},
    "snapshot": {"snapshot": SNAPSHOT, "active": ACTIVE, "frozen_us": or_null(size), "paused_us": or_null(size)},
    "rollback": {"rollback": {"to": text, "automatic_snapshot": or_null(text), "reset": boolean}, "active": ACTIVE,
                 "frozen_us": or_null(size), "paused_us": or_null(size), "removed": [path]},
    "show": {"snapshot": SNAPSHOT},
    "commit": MERGED,
    "stream": MERGED,
    "mirror": MIRRORED,
    "receive": {"exports": [{"disk": text, "uri": text, "bitmap": or_null(text), "path": path}]},
    "jobs": JOBS,
    "job wait": {},
    "job cancel": {},
    "job complete": MERGED,
    "job pause": JOBS,
    "job resume": JOBS,
    "job speed": JOBS,
    "protect": {"snapshots": [SNAPSHOT]},
    "list": {"snapshots": [SNAPSHOT_LINE]},
    "tree": {"disks": [TREE], "jobs_of_others": [{**JOB, "path": or_null(path)}]},
    "path": {"path": path, "format": text, "blockdev": text},
    "log": {"operations": [OPERATION]},
    "check": {"problems": [PROBLEM]},
    "doctor": {"problems": [PROBLEM]},
    "guest": {},
    "vm export": {"export": {"chainctl_export": one_of(1), "vm": {"name": text}, "disks": [{}], "snapshots": [{}]}},
    "vm import": {"vm": VM},
    "state backup": {"state": {"path": path, "vms": size, "snapshots": size}},
    "state restore": {"state": {"path": path, "vms": size, "snapshots": size, "before": or_null(path)}},
    "state rebuild": {"state": {"path": path, "vms": size, "snapshots": size, "notes": size}},
}


def assert_success(command, document):
    """The document of a command that succeeded."""
    head = {"command": one_of(command), "ok": one_of(True), "warnings": WARNINGS}
    wrong = mismatch(document, {**head, **SHAPES[command]})
    assert not wrong, f"{command}: {wrong}\n{document}"
    assert "error" not in document, document


def assert_failure(command, document):
    """The document of a command that failed. Returns its error."""
    wrong = mismatch(document, {"command": one_of(command), "ok": one_of(False), "error": ERROR})
    assert not wrong, f"{command}: {wrong}\n{document}"
    assert re.fullmatch(r"[a-z][a-z0-9-]*", document["error"]["code"]), document
    assert document["error"]["message"].strip(), document
    return document["error"]


def said(vm, *words):
    """The document of a run that succeeds, held to its shape."""
    result = vm.chainctl.run(*words)
    assert result.status == 0, result
    document = only_document(result.out)
    assert_success(document["command"], document)
    return document
