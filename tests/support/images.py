"""Makes disk images, and reads them back, with qemu-img.

Reading passes -U, so that it works while a QEMU holds the chain; what a running guest has not yet written is then
not seen. Paths may be str or Path.
"""
import hashlib
import json
import subprocess

from support.process import program


def qemu_img(*words, statuses=(0,)):
    """Runs qemu-img; any other exit status than these is an error. Returns what it printed."""
    done = subprocess.run([program("qemu-img"), *map(str, words)], capture_output=True, text=True, timeout=100)
    if done.returncode not in statuses:
        raise AssertionError(f"qemu-img {words} exits with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def create(path, size="128M", fmt="qcow2", backing=None, backing_fmt=None, options=None):
    """A new image; with a backing image, size may be None. Returns the path."""
    words = ["-f", fmt]
    if backing:
        words += ["-b", backing, "-F", backing_fmt or info(backing)["format"]]
    if options:
        words += ["-o", options]
    qemu_img("create", "-q", *words, path, *([size] if size else []))
    return path


def create_encrypted(path, size, password):
    """A new qcow2 image with LUKS in it. Again where qemu-img says that it cannot measure its own speed, as it does now and
    then ("Unable to get accurate CPU usage")."""
    words = ["--object", f"secret,id=s,data={password}", "-f", "qcow2"]
    words += ["-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path, size]
    for _ in range(20):
        done = subprocess.run([program("qemu-img"), "create", "-q", *map(str, words)], capture_output=True, text=True, timeout=100)
        if done.returncode == 0:
            return path
        assert "accurate CPU usage" in done.stderr, done.stderr
    raise AssertionError(done.stderr)


def info(path, fmt=None):
    """What `qemu-img info` says of this one image."""
    return json.loads(qemu_img("info", "-U", "--output=json", *(["-f", fmt] if fmt else []), path))


def chain(path):
    """`qemu-img info` of the image and of all below it, the top first."""
    return json.loads(qemu_img("info", "-U", "--backing-chain", "--output=json", path))


def check(path):
    """What `qemu-img check` says: leaks and corruptions are keys of it, and absent where there are none."""
    return json.loads(qemu_img("check", "-U", "--output=json", path, statuses=(0, 2, 3)))


def is_clean(path):
    """Whether the image has neither errors nor leaks."""
    found = check(path)
    return not any(found.get(key) for key in ("check-errors", "corruptions", "leaks"))


def compare(one, other):
    """Whether a guest would read the same from both."""
    return "Images are identical" in qemu_img("compare", "-U", one, other, statuses=(0, 1))


def to_raw(path, out, fmt=None):
    """Writes what a guest would read from the image to a raw file. Returns its path."""
    qemu_img("convert", "-U", *(["-f", fmt] if fmt else []), "-O", "raw", path, out)
    return out


def sha256(path):
    """Of the file itself, not of what a guest would read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write(path, command):
    """Writes to a qcow2 image itself with qemu-io ("write -P 7 0 64k"), whoever has its backing image open."""
    options = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": str(path)}}
    words = [program("qemu-io"), "-c", command, f"json:{json.dumps(options)}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "failed" not in done.stdout, f"{command}: {done.stdout}{done.stderr}"


def reads(path, pattern, offset, length):
    """Whether a guest would read nothing but that byte there."""
    words = [program("qemu-io"), "-r", "-U", "-f", info(path)["format"], "-c", f"read -P {pattern} {offset} {length}", path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert f"read {length}/{length}" in done.stdout, f"{path}: {done.stdout}{done.stderr}"
    return "verification failed" not in done.stdout
