// Node's own zlib: lines and SHA-256 of the text of gzip files, in the order in which they are named.
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { gunzipSync } = require('node:zlib');

const hash = createHash('sha256');
let lines = 0;
for (const path of process.argv.slice(2)) {
  const text = gunzipSync(readFileSync(path));
  for (const line of text.toString('utf8').split('\n').slice(0, -1)) {
    JSON.parse(line);
    lines += 1;
  }
  hash.update(text);
}
console.log(`${lines} ${hash.digest('hex')}`);
