"""NBD servers that are not ours, for what connects to them: qemu-nbd, and nbdkit with its filters.

    with QemuNbd(images.create(tmp_path / "t.raw", "8M", fmt="raw")) as server:          on a Unix socket
        server.nbd          what `chainctl mirror --nbd` takes: "unix:PATH", "127.0.0.1:PORT", with "/EXPORT" if any
        server.uri          what qemu-img, qemu-io and nbdinfo take
        server.qemu_io("read -P 7 0 64k")
        server.kill()       as a power cut would; nobody listens any more
        server.start()      again, on the same socket or port

    QemuNbd(path, format="raw", export="vda", read_only=False, words=())
    Nbdkit("memory", "8M", filters=("delay",), words=("wdelay=100ms",), read_only=False)
    Nbdkit("file", path, filters=("error",), words=("error-pwrite=EIO", "error-pwrite-rate=100%", f"error-file={flag}"))

    with Relay(port) as relay:             stands before a server at that port of 127.0.0.1, with a port of its own
        relay.port
        with relay.cut():                  nobody gets through, and those who had are cut off

All servers take tcp=True (a free port of `host`, "127.0.0.1" or "::1") and tls=FOLDER (support/tls.py: Tls(…).server), which a
client answers with `Tls(…).client`. A server dies with the test. Each serves up to 16 clients, and goes on without any.
"""
import contextlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

from support import process
from support.qemu import is_listening


def free_port(host="127.0.0.1"):
    """One that nobody listens at, now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def listens(host, port):
    """Whether somebody listens at that port of this host; asks the kernel, so that no server sees a client."""
    table = pathlib.Path("/proc/net/tcp6" if ":" in host else "/proc/net/tcp").read_text().splitlines()[1:]
    return any(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in map(str.split, table))


def qemu_io(uri, *commands, options=(), timeout=60):
    """Reads or writes over NBD, then flushes; a pattern that is not there raises."""
    words = [process.program("qemu-io"), *options]
    words += [word for command in (*commands, "flush") for word in ("-c", command)]
    words += [uri] if "--image-opts" in options else ["-f", "raw", uri]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0 and "failed" not in done.stdout, f"{commands}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def connected(uri, command):
    """A client that has done this, and stays for the length of the with-block. Yields its process, which takes more."""
    words = [process.program("qemu-io"), "-f", "raw", uri]
    with process.running(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        client.stdin.write(f"{command}\n")
        client.stdin.flush()
        assert client.stdout.readline()
        yield client


class Server:
    """What all have: an address, a start that waits until they listen, and an end."""

    def __init__(self, *, export="", tcp=False, host="127.0.0.1", tls=None):
        self.export, self.host, self.tls = export, host, tls
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
        self.socket, self.log = self.folder / "nbd", self.folder / "log"
        self.port = free_port(host) if tcp else None
        self.process = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    @property
    def nbd(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{host}:{self.port}" if self.port else f"unix:{self.socket}"
        return f"{address}/{self.export}" if self.export else address

    @property
    def uri(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nbd://{host}:{self.port}/{self.export}" if self.port else f"nbd+unix:///{self.export}?socket={self.socket}"

    def qemu_io(self, *commands):
        """In clear text."""
        return qemu_io(self.uri, *commands)

    def start(self):
        """Returns when it listens; it may be started again after its end."""
        assert self.process is None, "it runs"
        self.socket.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = process.spawn(self.command_line(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        process.wait_until(lambda: self._is_ready() or self.process.poll() is not None, 60, "an NBD server")
        if self.process.poll() is not None:
            self.process = None
            raise RuntimeError(f"no NBD server: {self.log.read_text(errors='replace')}")
        return self

    def kill(self):
        """SIGKILL; its image stays as it is."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self):
        if self.process:
            process.end(self.process)
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self):
        return listens(self.host, self.port) if self.port else is_listening(self.socket)


class QemuNbd(Server):
    """qemu-nbd on one image."""

    def __init__(self, image, format="raw", *, read_only=False, words=(), **address):
        super().__init__(**address)
        self.image, self.format, self.read_only, self.words = image, format, read_only, list(words)

    def command_line(self):
        words = [process.program("qemu-nbd"), "--persistent", "--shared=16", "--format", self.format]
        words += ["--bind", self.host, "--port", self.port] if self.port else ["--socket", self.socket]
        words += ["--export-name", self.export] if self.export else []
        words += ["--read-only"] if self.read_only else []
        if self.tls:
            words += ["--object", f"tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir={self.tls}", "--tls-creds=tls"]
        return [*words, *self.words, self.image]


class Nbdkit(Server):
    """nbdkit with a plugin and what that takes, and filters; `words` are theirs. It answers to any export name."""

    def __init__(self, plugin, *arguments, filters=(), read_only=False, words=(), **address):
        super().__init__(**address)
        self.plugin, self.arguments, self.filters = plugin, arguments, filters
        self.read_only, self.words = read_only, words

    def command_line(self):
        words = [process.program("nbdkit"), "--foreground", "--exit-with-parent", "--threads", "16"]
        words += ["--ipaddr", self.host, "--port", self.port] if self.port else ["--unix", self.socket]
        words += ["--readonly"] if self.read_only else []
        words += ["--tls=require", f"--tls-certificates={self.tls}", "--tls-verify-peer"] if self.tls else []
        words += [f"--filter={name}" for name in self.filters]
        return [*words, self.plugin, *self.arguments, *self.words]


class Relay:
    """A link between client and server that can be cut."""

    def __init__(self, target):
        self.target, self.port = target, free_port()
        self._listener, self._open = None, []

    def __enter__(self):
        self._listen()
        return self

    def __exit__(self, *_):
        self._hang_up()

    @contextlib.contextmanager
    def cut(self):
        self._hang_up()
        yield
        self._listen()

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _hang_up(self):
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=[source, sink], daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
