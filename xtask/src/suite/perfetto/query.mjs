// Asks Perfetto's own trace processor, in its build for browsers: node query.mjs FOLDER TRACE SQL...
// FOLDER is a release of Perfetto's page; a line of JSON answers each question: {"columns": [...], "rows": [[...], ...]}.

import fs from "node:fs";
import path from "node:path";

const [folder, trace, ...questions] = process.argv.slice(2);
const file = (url) => fs.readFileSync(path.join(folder, path.basename(String(url))));

// The engine expects to be a worker of a page: it loads its code from where it lies, and gets a port to talk to.
const worker = { location: { href: "http://localhost/engine_bundle.js", protocol: "http:" } };
class Request {
  open(_method, url) {
    this.url = url;
  }
  send() {
    this.response = Uint8Array.from(file(this.url)).buffer;
  }
}
globalThis.XMLHttpRequest = Request;
const around = { self: worker, location: worker.location, process: undefined, WorkerGlobalScope: Object };
new Function(...Object.keys(around), file("engine_bundle.js").toString())(...Object.values(around));
const replies = [];
const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
worker.onmessage({ data: port });

// Protocol buffers, as far as they are needed.
const number = (value) => {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
};
const field = (id, value) =>
  typeof value === "number"
    ? Buffer.concat([number(id * 8), number(value)])
    : Buffer.concat([number(id * 8 + 2), number(value.length), value]);
const varint = (bytes, at) => {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes[at++];
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [BigInt.asIntN(64, value), at];
  }
};
const all = (bytes) => {
  const values = [];
  for (let at = 0, value; at < bytes.length; values.push(value)) [value, at] = varint(bytes, at);
  return values;
};
function* fields(bytes) {
  for (let at = 0, key, value; at < bytes.length; ) {
    [key, at] = varint(bytes, at);
    const wire = Number(key & 7n);
    if (wire === 0) [value, at] = varint(bytes, at);
    else {
      let length = wire === 1 ? 8 : 4;
      if (wire === 2) {
        [length, at] = varint(bytes, at);
        length = Number(length);
      }
      value = bytes.subarray(at, at + length);
      at += length;
    }
    yield [Number(key >> 3n), value];
  }
}

// TraceProcessorRpc: sequence number, method, and its arguments.
const [APPEND, FINALIZE, QUERY, QUERY_ANSWER] = [1, 2, 3, 203];
let sequence = 0;
const ask = (method, id, argument) => {
  const body = [field(1, sequence++), field(2, method)];
  if (argument) body.push(field(id, argument));
  replies.length = 0;
  port.onmessage({ data: new Uint8Array(field(1, Buffer.concat(body))) });
};

/// A batch of a query's cells: their types, and the values of each type.
function* cells(batch) {
  const [kinds, whole, real, texts] = [[], [], [], []];
  for (const [id, value] of fields(batch)) {
    if (id === 1) kinds.push(...value);
    if (id === 2) whole.push(...all(value).map(Number));
    if (id === 3) for (let at = 0; at < value.length; at += 8) real.push(value.readDoubleLE(at));
    if (id === 5) texts.push(...value.toString().split("\0"));
  }
  const of = { 1: () => null, 2: () => whole.shift(), 3: () => real.shift(), 4: () => texts.shift() };
  for (const kind of kinds) yield of[kind]();
}

function answer(question) {
  ask(QUERY, 103, field(1, Buffer.from(question)));
  const columns = [];
  const values = [];
  for (const reply of replies)
    for (const [, message] of fields(reply))
      for (const [id, result] of fields(message)) {
        if (id !== QUERY_ANSWER) continue;
        for (const [part, value] of fields(result)) {
          if (part === 1) columns.push(value.toString());
          if (part === 2) throw new Error(`${question}: ${value}`);
          if (part === 3) values.push(...cells(value));
        }
      }
  const rows = [];
  while (values.length > 0) rows.push(values.splice(0, columns.length));
  return { columns, rows };
}

// The engine says in no way that it has come up, but fails until it has.
const ready = async () => {
  for (let tries = 0; ; tries++) {
    try {
      return answer("select 1");
    } catch (error) {
      if (tries > 600) throw error;
      sequence = 0;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
};
await new Promise((resolve) => setTimeout(resolve, 200));
await ready();
const bytes = fs.readFileSync(trace);
const CHUNK = 1 << 24;
for (let at = 0; at < bytes.length; at += CHUNK) ask(APPEND, 101, bytes.subarray(at, at + CHUNK));
ask(FINALIZE);
for (const question of questions) console.log(JSON.stringify(answer(question)));
process.exit(0);
