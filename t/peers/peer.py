"""A peer for t/*-interop-python.t, with the `websockets` package.

    peer.py server          prints "port N", serves until its standard input ends
    peer.py client URL ...  connects to each URL in turn

With EVWS_PEER_CERT and EVWS_PEER_KEY in the environment the server speaks TLS, and
the client shows that certificate where it is asked for one. Whom the client trusts
says SSL_CERT_FILE.

What it says and obeys stands in t/lib/PerlPeer.pm. One line on standard output for
each connection that ended: "closed CODE REASON", fields separated by tabs; for
an upgrade that was refused CODE is the HTTP status.
"""

import asyncio
import http
import os
import ssl
import sys
import threading

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

# Newer releases would take a proxy from the environment, for loopback too.
for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[variable]

MIB = 1024 * 1024
OPTIONS = {"max_size": MIB, "ping_interval": None}


def report(*fields):
    sys.stdout.buffer.write("\t".join(map(str, fields)).encode() + b"\n")
    sys.stdout.buffer.flush()


async def split(ws, message, count):
    size = 1 + len(message) // count

    async def pieces():
        for n in range(count):
            yield message[n * size : (n + 1) * size]
            if n < count - 1:
                await ws.ping(b"between%d" % n)

    await ws.send(pieces())


async def close(ws, argument):
    code, _, reason = argument.partition(" ")
    if code != "1005":
        return await ws.close(int(code), reason)
    # The package has no public way to close without a code.
    async with ws.send_context():
        ws.protocol.send_close()
    await ws.wait_closed()


async def obey(ws, command, argument):
    if command == "ping":
        await (await ws.ping(argument))
        await ws.send("pong " + argument)
    elif command == "burst":
        for n in range(int(argument)):
            await ws.send(str(n))
    elif command == "close":
        await close(ws, argument)
    elif command == "abort":
        ws.transport.abort()
    else:
        raise ValueError(f"unknown command {command!r}")


async def converse(ws, headers):
    hello = {
        "peer": "Python websockets",
        "protocol": ws.subprotocol or "",
        "x-interop": headers.get("X-Interop", ""),
        "extensions": headers.get("Sec-WebSocket-Extensions", ""),
    }
    count = 1
    try:
        await ws.send("".join(f"{name}={value}\n" for name, value in hello.items()))
        async for message in ws:
            if isinstance(message, str) and message.startswith("!"):
                command, _, argument = message[1:].partition(" ")
                if command == "split":
                    count = int(argument)
                else:
                    await obey(ws, command, argument)
            elif count > 1:
                await split(ws, message, count)
                count = 1
            else:
                await ws.send(message)
    except ConnectionClosed:
        pass
    await ws.wait_closed()
    report("closed", ws.protocol.close_code, ws.protocol.close_reason or "")


def refuse(ws, request):
    if request.path == "/forbidden":
        return ws.respond(http.HTTPStatus.FORBIDDEN, "no\n")
    return None


def add_header(ws, request, response):
    response.headers["X-Interop"] = "from Python websockets"


def with_identity(context):
    context.load_cert_chain(os.environ["EVWS_PEER_CERT"], os.environ["EVWS_PEER_KEY"])
    return context


def server_tls():
    if "EVWS_PEER_CERT" not in os.environ:
        return None
    return with_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def client_tls(url):
    if "EVWS_PEER_CERT" not in os.environ or not url.startswith("wss:"):
        return None
    return with_identity(ssl.create_default_context())


async def server():
    async def handler(ws):
        await converse(ws, ws.request.headers)

    async with serve(
        handler,
        "127.0.0.1",
        0,
        subprotocols=["v2.interop", "v9.interop"],
        process_request=refuse,
        process_response=add_header,
        ssl=server_tls(),
        **OPTIONS,
    ) as listening:
        report("port", listening.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def client(urls):
    for url in urls:
        try:
            async with connect(
                url,
                subprotocols=["v3.interop", "v2.interop"],
                additional_headers={"X-Interop": "from Python websockets"},
                ssl=client_tls(url),
                **OPTIONS,
            ) as ws:
                await converse(ws, ws.response.headers)
        except InvalidStatus as refusal:
            report("closed", refusal.response.status_code, "")


def end_with_input():
    """The test that started this process holds the other end."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2:]))
