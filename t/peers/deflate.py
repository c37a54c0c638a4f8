"""A peer for t/35-deflate-python.t, with the `websockets` package.

    deflate.py server SETTING ...       prints "port N" for each setting
    deflate.py client URL SETTING ...   connects to each URL in turn

A setting is "S,C,SB,CB": no takeover of the server and the client (0 or 1), and
their windows in bits; "-" is the package's own. What it says and echoes stands in
t/lib/Interop/Deflate.pm. Ends with its standard input.
"""

import asyncio
import os
import sys
import threading

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[variable]


def options(factory, setting):
    if setting == "-":
        chosen = {"client_max_window_bits": True} if factory is ClientPerMessageDeflateFactory else {}
    else:
        server, client, server_bits, client_bits = map(int, setting.split(","))
        chosen = {
            "server_no_context_takeover": bool(server),
            "client_no_context_takeover": bool(client),
            "server_max_window_bits": server_bits,
            "client_max_window_bits": client_bits,
        }
    return {"compression": None, "extensions": [factory(**chosen)], "max_size": None, "ping_interval": None}


async def pieces(message, count):
    size = 1 + len(message) // count
    for n in range(count):
        yield message[n * size : (n + 1) * size]


async def echo(ws):
    count = 1
    try:
        await ws.send("extensions=" + ws.response.headers.get("Sec-WebSocket-Extensions", ""))
        async for message in ws:
            if isinstance(message, str) and message.startswith("!split "):
                count = int(message[7:])
            elif count > 1:
                await ws.send(pieces(message, count))
                count = 1
            else:
                await ws.send(message)
    except ConnectionClosed:
        pass
    await ws.wait_closed()


async def server(settings):
    listening = []
    for setting in settings:
        listening.append(await serve(echo, "127.0.0.1", 0, **options(ServerPerMessageDeflateFactory, setting)))
        print("port", listening[-1].sockets[0].getsockname()[1], sep="\t", flush=True)
    await asyncio.get_running_loop().create_future()


async def client(arguments):
    for url, setting in zip(arguments[::2], arguments[1::2]):
        async with connect(url, **options(ClientPerMessageDeflateFactory, setting)) as ws:
            await echo(ws)


def end_with_input():
    """The test that started this process holds the other end."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
asyncio.run(server(sys.argv[2:]) if sys.argv[1] == "server" else client(sys.argv[2:]))
