// A peer for t/36-deflate-node.t, with the `ws` package. Its arguments are those of
// deflate.py; what it says and echoes stands in t/lib/Interop/Deflate.pm.
'use strict';

const { WebSocket, WebSocketServer } = require('ws');

function options(setting) {
  const own = { threshold: 0 };
  if (setting === '-') return own;
  const [server, client, serverBits, clientBits] = setting.split(',').map(Number);
  return {
    ...own,
    // false would refuse a peer that asks for it.
    ...(server ? { serverNoContextTakeover: true } : {}),
    ...(client ? { clientNoContextTakeover: true } : {}),
    serverMaxWindowBits: serverBits,
    clientMaxWindowBits: clientBits,
  };
}

function split(ws, message, binary, count) {
  const size = 1 + Math.floor(message.length / count);
  for (let n = 0; n < count; n++) {
    ws.send(message.subarray(n * size, (n + 1) * size), { binary, fin: n === count - 1, compress: true });
  }
}

function echo(ws, extensions) {
  let count = 1;
  ws.on('message', (message, binary) => {
    const command = binary ? null : /^!split (\d+)$/.exec(message.toString());
    if (command) {
      count = Number(command[1]);
    } else if (count > 1) {
      split(ws, message, binary, count);
      count = 1;
    } else {
      ws.send(message, { binary });
    }
  });
  ws.on('error', (error) => process.stderr.write(`# Node ws: ${error.message}\n`));
  ws.send(`extensions=${extensions || ''}`);
}

function server(settings) {
  if (!settings.length) return;
  const [setting, ...rest] = settings;
  const listening = new WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: options(setting),
    maxPayload: 0,
  });
  let answer;
  listening.on('headers', (lines) => {
    const line = lines.find((text) => /^sec-websocket-extensions:/i.test(text));
    answer = line && line.replace(/^[^:]*:\s*/, '');
  });
  listening.on('connection', (ws) => echo(ws, answer));
  listening.on('listening', () => {
    process.stdout.write(`port\t${listening.address().port}\n`);
    server(rest);
  });
}

function client(args) {
  if (!args.length) return;
  const [url, setting, ...rest] = args;
  const ws = new WebSocket(url, { perMessageDeflate: options(setting), maxPayload: 0 });
  let answer;
  ws.on('upgrade', (response) => {
    answer = response.headers['sec-websocket-extensions'];
  });
  ws.on('open', () => echo(ws, answer));
  ws.on('close', () => client(rest));
}

// The test that started this process holds the other end.
process.stdin.on('end', () => process.exit(0)).resume();
if (process.argv[2] === 'server') server(process.argv.slice(3));
else client(process.argv.slice(3));
