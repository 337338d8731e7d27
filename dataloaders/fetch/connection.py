"""One https request: certificates always checked, redirects followed to https only.

The standard library, not requests: requests is here only because MLflow brings it, takes its
certificates from a file of its own instead of SSL_CERT_FILE and the system, follows a redirect to
http without a word, and unpacks what it reads, after which no byte range fits.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urljoin, urlsplit

from ... import __version__
from ..errors import NetworkError

REDIRECTS = 10
BUSY = {408, 425, 429, 500, 502, 503, 504}


class Passing(Exception):
    """Something that may be over in a moment: a broken connection, a busy server."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        """How long the server asks to be left alone."""


@dataclass
class Answer:
    """A server's answer: 200, 206 or 416."""

    status: int
    headers: Message
    body: http.client.HTTPResponse | IO[bytes]


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    max_redirections = REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl, "a redirect to ")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> IO[bytes] | None:
        # The library's own check comes first, lets http and ftp pass and says less.
        if where := headers.get("location") or headers.get("uri"):
            check_url(urljoin(req.full_url, where), "a redirect to ")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def check_url(url: str, what: str = "") -> None:
    """Raises NetworkError unless it is https to a named host, with no login in it."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        where = f"{parts.scheme}://{parts.hostname}"  # the rest may hold a signature
        raise NetworkError(f"{what}{where} is refused: only https is read, without a login in it")


def connect() -> urllib.request.OpenerDirector:
    """What opens https and nothing else, through the proxies of the environment.

    SSL_CERT_FILE and SSL_CERT_DIR name other certificates, as everywhere in OpenSSL.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpsOnly(),
    ):
        opener.add_handler(handler)
    return opener


def request(
    opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str], timeout_s: float
) -> Answer:
    """Ask for `url`. Raises Passing for what may be over soon, NetworkError for what will not."""
    check_url(url)
    own = {"User-Agent": f"foveate/{__version__}", "Accept-Encoding": "identity"}
    asked = urllib.request.Request(url, headers=own | headers)
    host = urlsplit(url).hostname
    try:
        found = opener.open(asked, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        return _judge(error, str(host))
    except (OSError, http.client.HTTPException) as error:
        raise _explain(error, str(host)) from None
    if found.status not in (200, 206):
        raise NetworkError(f"{host} answered {found.status}, which is no file")
    if found.headers.get("Content-Encoding", "identity") != "identity":
        raise NetworkError(f"{host} packs what it sends although it was asked not to")
    return Answer(found.status, found.headers, found)


def _judge(error: urllib.error.HTTPError, host: str) -> Answer:
    if error.code == 416:
        return Answer(416, error.headers, error)
    error.close()
    if error.code in BUSY:
        asked = error.headers.get("Retry-After", "")
        wait = min(int(asked), 60) if asked.isdigit() else 0
        raise Passing(f"{host} answered {error.code} {error.reason}", wait)
    if 300 <= error.code < 400:
        raise NetworkError(f"{host} sends from one address to another without end")
    raise NetworkError(
        f"{host} answered {error.code} {error.reason}; the address may have changed, look at the "
        "data set's own page"
    )


def _explain(error: OSError | http.client.HTTPException, host: str) -> Exception:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NetworkError(
            f"the certificate of {host} is not to be trusted ({cause.verify_message}); behind a "
            "proxy of your own, name its certificate by SSL_CERT_FILE"
        )
    said = " ".join(str(cause).split()) or type(cause).__name__
    return Passing(f"{host}: {said[:200]}")
