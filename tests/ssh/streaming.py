"""An engine's door for tests of the gateway: /health, and completions that stream `chunks` events `pause_s` apart.

streaming.py PORT; each answer's headers repeat those of the request that matter, and `/v1/seen` says how many came.
"""

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter

SEEN = {"completions": 0, "cut short": 0}


async def request(reader: StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    """(method, path, headers, body) of one request."""
    method, path, _ = (await reader.readline()).decode().split(" ")
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def head(headers: dict[str, str], *more: str) -> bytes:
    """The head of an answer."""
    told = [f"X-Told-{name}: {headers[name]}" for name in ("authorization", "x-request-id", "host") if name in headers]
    return "\r\n".join(("HTTP/1.1 200 OK", *told, *more, "Connection: close", "", "")).encode()


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """One connection is one request, as behind the gateway."""
    try:
        _, path, headers, body = await request(reader)
        if path == "/v1/chat/completions":
            await stream(writer, headers, json.loads(body or b"{}"))
        else:
            text = json.dumps(SEEN if path == "/v1/seen" else {"path": path, "bytes": len(body)}).encode()
            writer.write(head(headers, "Content-Type: application/json", f"Content-Length: {len(text)}") + text)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        pass
    writer.close()


async def stream(writer: StreamWriter, headers: dict[str, str], asked: dict[str, float]) -> None:
    """Server-sent events in chunks of HTTP/1.1."""
    SEEN["completions"] += 1
    writer.write(head(headers, "Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
    try:
        for n in range(int(asked["chunks"])):
            event = f"data: {n}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(asked["pause_s"])
    except ConnectionError:
        SEEN["cut short"] += 1
        raise
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def main(port: int, address: str | None = None) -> None:
    """Until it is ended."""
    async with await asyncio.start_server(answer, address, port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
