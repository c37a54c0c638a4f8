// A peer for t/*-interop-node.t, with the `ws` package.
//
//     node peer.js server          prints "port N", serves until its standard input ends
//     node peer.js client URL ...  connects to each URL in turn
//
// With EVWS_PEER_CERT and EVWS_PEER_KEY in the environment the server speaks TLS, and
// the client shows that certificate where it is asked for one. Whom the client
// trusts says NODE_EXTRA_CA_CERTS.
//
// What it says and obeys stands in t/lib/PerlPeer.pm. One line on standard output
// for each connection that ended: "closed CODE REASON", fields separated by
// tabs; for an upgrade that was refused CODE is the HTTP status.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocket, WebSocketServer } = require('ws');

const NAME = 'Node ws';

function report(...fields) {
  process.stdout.write(fields.join('\t') + '\n');
}

function split(ws, message, binary, count) {
  const size = 1 + Math.floor(message.length / count);
  for (let n = 0; n < count; n++) {
    const fin = n === count - 1;
    ws.send(message.subarray(n * size, (n + 1) * size), { binary, fin, compress: false });
    if (!fin) ws.ping('between');
  }
}

const commands = {
  ping: (ws, payload) => ws.ping(payload),
  burst: (ws, count) => {
    for (let n = 0; n < Number(count); n++) ws.send(String(n));
  },
  abort: (ws) => ws.terminate(),
  close: (ws, argument) => {
    const [, code, reason] = /^(\d+) ?(.*)$/s.exec(argument);
    if (code === '1005') ws.close();
    else ws.close(Number(code), reason);
  },
};

function converse(ws, headers) {
  let pieces = 1;
  ws.on('message', (message, binary) => {
    const command = binary ? null : /^!(\w+) ?(.*)$/s.exec(message.toString());
    if (command && command[1] === 'split') pieces = Number(command[2]);
    else if (command) commands[command[1]](ws, command[2]);
    else if (pieces > 1) {
      split(ws, message, binary, pieces);
      pieces = 1;
    } else ws.send(message, { binary });
  });
  ws.on('pong', (payload) => {
    if (payload.toString() !== 'between') ws.send('pong ' + payload);
  });
  ws.on('error', (error) => process.stderr.write(`# ${NAME}: ${error.message}\n`));
  ws.on('close', (code, reason) => report('closed', code, reason.toString()));
  const hello = {
    peer: NAME,
    protocol: ws.protocol,
    'x-interop': headers['x-interop'] || '',
    extensions: headers['sec-websocket-extensions'] || '',
  };
  ws.send(Object.entries(hello).map(([name, value]) => `${name}=${value}\n`).join(''));
}

function identity() {
  const { EVWS_PEER_CERT, EVWS_PEER_KEY } = process.env;
  return EVWS_PEER_CERT && { cert: fs.readFileSync(EVWS_PEER_CERT), key: fs.readFileSync(EVWS_PEER_KEY) };
}

function server() {
  const tls = identity();
  const web = tls ? https.createServer(tls) : http.createServer();
  const listening = new WebSocketServer({
    server: web,
    perMessageDeflate: true,
    handleProtocols: (offered) => offered.has('v2.interop') && 'v2.interop',
    verifyClient: (info, answer) => answer(info.req.url !== '/forbidden', 403),
  });
  listening.on('headers', (lines) => lines.push(`X-Interop: from ${NAME}`));
  listening.on('connection', (ws, request) => converse(ws, request.headers));
  web.listen(0, '127.0.0.1', () => report('port', web.address().port));
}

function client(urls) {
  if (!urls.length) return;
  const [url, ...rest] = urls;
  const ws = new WebSocket(url, ['v3.interop', 'v2.interop'], {
    headers: { 'X-Interop': `from ${NAME}` },
    ...identity(),
  });
  let headers;
  ws.on('upgrade', (response) => { headers = response.headers; });
  ws.on('open', () => {
    converse(ws, headers);
    ws.on('close', () => client(rest));
  });
  ws.on('unexpected-response', (request, response) => {
    report('closed', response.statusCode, '');
    response.destroy();
    client(rest);
  });
}

// The test that started this process holds the other end.
process.stdin.on('end', () => process.exit(0)).resume();
if (process.argv[2] === 'server') server();
else client(process.argv.slice(3));
