"""The client of an endpoint for programs on hosts: it sends the API key to nobody but the stack's own gateway.

Two proofs, on the very connection that the key then goes over: the certificate that the stack's folder holds, where the
endpoint speaks TLS, and the answer to a challenge. The answer is an HMAC under a key of its own, over a nonce and the
address that the connection arrived at, so whoever listens there without the stack's files can neither compute the
answer nor fetch it from the real gateway elsewhere.

Standard library of Python 3.10 only; `hosts.resources.programs` puts it into the programs that import it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import ssl
import threading
import urllib.parse
from typing import Any

PROOF_PATH = "/.slipway/proof"
PROOF_FILE, CERTIFICATE_FILE = "proof-key", "endpoint.pem"
"""Beside the file of the API key, in the stack's folder."""
PROOF_TIMEOUT_S = 10
MAX_ANSWER_BYTES = 16 << 20


class NotOurs(ValueError):
    """What answers at the endpoint has not proven to be the stack's gateway; the API key was not sent."""


def proof_of(key: str, nonce: str, address: str, port: int) -> str:
    """What the gateway of the stack answers to a nonce on a connection that arrived at this address."""
    return hmac.new(key.encode(), f"slipway {nonce} {address} {port}".encode(), hashlib.sha256).hexdigest()


def text_of(path: str) -> str:
    """The text of a small file without the blanks around it. Raises OSError."""
    with open(path, encoding="utf-8") as file:
        return file.read(1 << 16).strip()


def trusting(certificate: str) -> ssl.SSLContext:
    """Trust in the one certificate that the gateway shows, whatever its names and its authority."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False  # it is asked by its node's address; the pinned certificate itself tells who it is
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is trusted itself, whoever signed it
    return context


def connected(url: str, folder: str, timeout_s: float) -> http.client.HTTPConnection:
    """An open connection to the gateway of the stack whose files are in `folder`, after both proofs.

    Raises NotOurs where something else answers, and OSError where nothing does.
    """
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname
    assert parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = trusting(os.path.join(folder, CERTIFICATE_FILE))
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=PROOF_TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PROOF_TIMEOUT_S)
    try:
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise NotOurs(f"{parts.hostname}:{parts.port} shows another certificate: {error.verify_message}") from None
        _prove(connection, text_of(os.path.join(folder, PROOF_FILE)), f"{parts.hostname}:{parts.port}")
        connection.sock.settimeout(timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _prove(connection: http.client.HTTPConnection, key: str, where: str) -> None:
    """Raises NotOurs unless what is at the other end of this connection answers a challenge as the stack's gateway."""
    address, port = connection.sock.getpeername()[:2]
    nonce = secrets.token_hex(16)
    # a timeout of a socket is one of each packet, and a stranger may send his answer byte by byte for ever
    late = threading.Timer(PROOF_TIMEOUT_S, _end, (connection.sock,))
    late.daemon = True
    late.start()
    try:
        connection.request("GET", f"{PROOF_PATH}?nonce={nonce}")
        answer = connection.getresponse()
        found = answer.read(256)
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise NotOurs(f"what listens on {where} does not prove to be this stack's gateway ({error!r})") from None
    finally:
        late.cancel()
    right = proof_of(key, nonce, address, port).encode()
    if answer.status != 200 or not hmac.compare_digest(found.strip(), right) or answer.will_close:
        raise NotOurs(f"what listens on {where} is not this stack's gateway: it does not answer the challenge")


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def post(connection: http.client.HTTPConnection, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """(status, answer) of one completion over a connection that has proven itself."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    return answer.status, answer.read(MAX_ANSWER_BYTES)
