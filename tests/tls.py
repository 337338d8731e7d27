"""An https server on the loopback interface, with a certificate authority of its own.

It serves what a test puts into `files`, as badly as the test asks, and remembers what it was asked.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


@dataclass
class Served:
    """One address, and how it behaves."""

    data: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    """Whether Range is heeded."""
    if_range: bool = True
    """Whether If-Range is: a server that does not sends the rest of another file."""
    cuts: list[int] = field(default_factory=list)
    """For each request in turn: bytes after which the connection is dropped."""
    length: bool = True
    """Whether Content-Length is sent."""
    redirect: str = ""
    status: list[int] = field(default_factory=list)
    """For each request in turn: an error to answer."""
    pause_s: float = 0.0
    """Before each 4 KiB."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """The server, as tests see it."""

    port: int
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, Range and If-Range of each request."""

    def url(self, path: str, host: str = "localhost") -> str:
        """The address of a path."""
        return f"https://{host}:{self.port}/{path}"

    def ranges(self) -> list[str]:
        """The Range of each request."""
        return [asked[1] for asked in self.asked]


def make_authority(folder: Path, name: str = "ca") -> tuple[x509.Certificate, object]:
    """A certificate authority; `<name>.pem` is what SSL_CERT_FILE names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test {name}")])
    made = _certificate(subject, subject, key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    signed = made.sign(key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return signed, key


def _certificate(subject, issuer, public) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


def make_context(folder: Path, host: str = "localhost") -> ssl.SSLContext:
    """A server's context, its certificate for `host` signed by a new `ca.pem` in `folder`."""
    authority, signer = make_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    made = _certificate(subject, authority.subject, key.public_key())
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    pem += key.private_bytes(serialization.Encoding.PEM, form, plain)
    (folder / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words) -> None:
        pass

    def do_GET(self) -> None:
        ours: Server = self.server.ours
        path = self.path.lstrip("/")
        ours.asked.append((path, self.headers.get("Range", ""), self.headers.get("If-Range", "")))
        served = ours.files.get(path)
        self.close_connection = True
        if served is None:
            self.send_error(404)
        elif served.status and (code := served.status.pop(0)) != 200:
            self._plain(code, served.headers)
        elif served.redirect:
            self._plain(302, {"Location": served.redirect})
        else:
            self._send(served)

    def _plain(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, served: Served) -> None:
        wanted = self.headers.get("Range", "")
        heed = served.ranges and wanted
        mark = self.headers.get("If-Range", "")
        if served.if_range and mark and mark != served.etag:
            heed = ""
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if heed else 0
        total = len(served.data)
        if heed and start >= total:
            self._plain(416, {"Content-Range": f"bytes */{total}"})
            return
        self.send_response(206 if heed else 200)
        if heed:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.length:
            self.send_header("Content-Length", str(total - start))
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = min(total, start + served.cuts.pop(0)) if served.cuts else total
        for place in range(start, end, 4096):
            time.sleep(served.pause_s)
            self.wfile.write(served.data[place : min(end, place + 4096)])


class _Proxy(BaseHTTPRequestHandler):
    def log_message(self, *words) -> None:
        pass

    def do_CONNECT(self) -> None:
        """Pass bytes both ways, and see none of what is in them."""
        self.server.ours.asked.append((self.path, "", ""))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pass_on, args=(far, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, far)
            back.join()


def _pass_on(source: socket.socket, goal: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            goal.sendall(data)
    with contextlib.suppress(OSError):
        goal.shutdown(socket.SHUT_WR)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *words) -> None:
        """A client that hangs up, or that the certificate does not suit, is what tests want."""


@contextmanager
def serve(context: ssl.SSLContext | None, proxy: bool = False) -> Iterator[Server]:
    """Serve until the end of the block; without TLS where there is no context."""
    http = _Http(("127.0.0.1", 0), _Proxy if proxy else _Handler)
    if context:
        http.socket = context.wrap_socket(
            http.socket, server_side=True, do_handshake_on_connect=False
        )
    http.ours = Server(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield http.ours
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def trust(monkeypatch, folder: Path, name: str = "ca") -> None:
    """Trust the authority of `folder` alone, and use no proxy."""
    for word in ("https_proxy", "all_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(word, raising=False)
        monkeypatch.delenv(word.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / f"{name}.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))
