// SPDX-License-Identifier: PostgreSQL
//
// A gateway to language models: reserves what a request may cost, streams the
// answer, and settles what it has cost.  doc/gateway.md explains each step.

import {randomUUID} from 'node:crypto';
import {createServer} from 'node:http';
import {keyOf, pool, responseTo} from './keys.js';
import {complete} from './upstream.js';

const PRICE = 1000n;             // of a token, in billionths: no float is ever a cost
const ATTEMPTS = 3;

const costOf = (tokens) => {
  const billionths = BigInt(tokens) * PRICE;
  return `${billionths / 1_000_000_000n}.${String(billionths % 1_000_000_000n).padStart(9, '0')}`;
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Calls the database again if the connection is lost, and only then: what is
// called so must do no harm the second time.
async function again(statement, values) {
  for (let attempt = 1; ; attempt++) {
    try {
      return (await pool.query(statement, values)).rows[0];
    } catch (error) {
      const lost = !error.code || /^(08|57P|ECONN|EPIPE)/.test(error.code);
      if (!lost || attempt === 5) throw error;
      await pause(50 * attempt);
    }
  }
}

// Not called again: a reservation whose answer is lost times out by itself.
async function reserve(key, {model, tokens, address}) {
  const {rows} = await pool.query(
    `SELECT valid, code, reason, id, name, reservation, retry_after,
            ceil(limit_max) AS limit_max, ceil(limit_remaining) AS limit_remaining, limit_resets_in
       FROM apikey_verify($1::text, model => $2::text, endpoint => $3::text, tokens => $4::bigint,
                          client_ip => $5::text, reserve => true, cost => $6::numeric)`,
    [key, model, '/v1/chat/completions', tokens, address, costOf(tokens)]);
  return rows[0];
}

// With the id of the request it counts once, however often this is sent.
const settle = (answer, requestId, model, tokens) => again(
  `SELECT apikey_record_usage($1::uuid, tokens => $2::bigint, cost => $3::numeric, reservation => $4::uuid,
                              request_id => $5::text, model => $6::text) AS recorded`,
  [answer.id, tokens, costOf(tokens), answer.reservation, requestId, model]);

const release = (answer) => again('SELECT apikey_release($1::uuid) AS released', [answer.reservation]);

async function bodyOf(request) {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 100_000) throw new SyntaxError('too long');
  }
  return JSON.parse(body);
}

function send(response, status, headers, body) {
  response.writeHead(status, {'Content-Type': 'application/json', ...headers});
  response.end(JSON.stringify(body));
}

// Starts the model, again if it fails before its first word: until then nothing has
// been sent, and nothing was spent.
async function start(request) {
  for (let attempt = 1; ; attempt++) {
    const words = complete(request);
    try {
      return {words, first: await words.next()};
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await pause(10 * attempt);
    }
  }
}

// Streams words as server-sent events; returns how many the client was sent.
async function stream(response, {words, first}, progress) {
  const write = (data) => response.write(`data: ${data}\n\n`);

  for (let next = first; !next.done && !response.destroyed; next = await words.next()) {
    write(JSON.stringify({content: next.value}));
    progress.tokens++;
  }
  write('[DONE]');
}

async function chat(request, response) {
  const {model = '', prompt = '', max_tokens = 100} = await bodyOf(request);
  if (!Number.isSafeInteger(max_tokens) || max_tokens < 1) throw new SyntaxError('max_tokens');

  // No answer from the database is no yes: an error here ends in 503.
  const answer = await reserve(keyOf(request.headers),
    {model, tokens: max_tokens, address: request.socket.remoteAddress});
  const {status, headers} = responseTo(answer);
  if (!answer.valid) return send(response, status, headers, {code: answer.code, reason: answer.reason});

  const requestId = `req-${randomUUID()}`;
  const aborted = new AbortController();
  response.on('close', () => aborted.abort());
  let words;
  try {
    words = await start({model, prompt, max_tokens, signal: aborted.signal});
  } catch (error) {
    await release(answer);
    return send(response, 502, headers, {code: 'UPSTREAM', reason: error.message});
  }

  // From here on there is something to pay, whatever happens.
  const progress = {tokens: 0};
  response.writeHead(200, {'Content-Type': 'text/event-stream', 'X-Request-Id': requestId, ...headers});
  try {
    await stream(response, words, progress);
  } catch (error) {
    response.write(`event: error\ndata: ${JSON.stringify({reason: error.message})}\n\n`);
  }
  await settle(answer, requestId, model, progress.tokens);
  response.end();
}

// An answer that turned out to be broken is taken back, by the key that paid for it.
async function cancel(request, response, requestId) {
  const {rows: [answer]} = await pool.query(
    'SELECT valid, code, reason, id, retry_after FROM apikey_verify($1::text, client_ip => $2::text)',
    [keyOf(request.headers), request.socket.remoteAddress]);
  if (!answer.valid) return send(response, responseTo(answer).status, {}, {code: answer.code});
  const {voided} = await again('SELECT apikey_void_usage($1::uuid, $2::text) AS voided', [answer.id, requestId]);
  send(response, voided ? 200 : 404, {}, {voided});
}

async function route(request, response) {
  const [, requestId] = /^\/v1\/chat\/completions\/(req-[0-9a-f-]{36})$/.exec(request.url) ?? [];

  if (request.method === 'POST' && request.url === '/v1/chat/completions') return chat(request, response);
  if (request.method === 'DELETE' && requestId) return cancel(request, response, requestId);
  send(response, 404, {}, {code: 'NO_SUCH_PAGE'});
}

createServer((request, response) => {
  route(request, response).catch((error) => {
    console.error(error.message);
    if (response.headersSent) return response.destroy();
    if (error instanceof SyntaxError) return send(response, 400, {}, {code: 'BAD_REQUEST'});
    send(response, error.code === '22021' ? 401 : 503, {}, {code: error.code === '22021' ? 'NOT_FOUND' : 'UNAVAILABLE'});
  });
}).listen(process.env.PORT, '127.0.0.1', () => console.log('listening'));
