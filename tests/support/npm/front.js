// HTTP/2 over TLS, and nothing else, in front of a test server that speaks HTTP/1.1: what AWS's Kinesis
// speaks to subscribers. Ends when its standard input closes.
'use strict';
const fs = require('fs');
const http = require('http');
const http2 = require('http2');

process.stdin.on('end', () => process.exit(0)).resume();

const upstream = new URL(process.env.UPSTREAM);
const files = { key: fs.readFileSync(process.env.KEY), cert: fs.readFileSync(process.env.CERT) };
const server = http2.createSecureServer(files, (request, response) => {
  const named = Object.entries(request.headers).filter(([name]) => !name.startsWith(':'));
  const headers = { ...Object.fromEntries(named), host: upstream.host };
  const { method, url: path } = request;
  const { hostname: host, port } = upstream;
  const asked = http.request({ host, port, method, path, headers }, (answer) => {
    const back = { ...answer.headers };
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete back[name];
    response.writeHead(answer.statusCode, back);
    answer.pipe(response);
  });
  asked.on('error', () => response.stream.close());
  response.stream.on('close', () => asked.destroy());
  request.pipe(asked);
});
server.listen(Number(process.env.PORT), '127.0.0.1');
