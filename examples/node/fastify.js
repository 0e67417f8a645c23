// SPDX-License-Identifier: PostgreSQL
//
// Fastify with keys: a hook verifies, and the routes know whose request it is.

import Fastify from 'fastify';
import {keyOf, limitsOf, record, responseTo, time, usageOf, verify} from './keys.js';

const app = Fastify();

app.decorateRequest('key', null);
app.addHook('onRequest', async (request, reply) => {
  const answer = await verify(keyOf(request.headers), {
    model: request.query.model,
    endpoint: request.url.split('?')[0],
    address: request.socket.remoteAddress,
  });
  const {status, headers} = responseTo(answer);

  reply.headers(headers);
  if (!answer.valid) return reply.code(status).send({code: answer.code, reason: answer.reason});
  request.key = answer;
});

app.get('/hello', async ({key}) => ({name: key.name, expires_at: time(key.expires_at)}));
app.get('/usage', async ({key}) => usageOf(key.id));
app.get('/limits', async ({key}) => limitsOf(key.id));
app.post('/usage', async ({key, query}, reply) => {
  await record(key.id, query.tokens, query.cost);
  return reply.code(204).send();
});

// No answer from the database is no yes.
app.setErrorHandler((error, request, reply) => {
  console.error(error.message);
  reply.code(503).send({code: 'UNAVAILABLE'});
});

await app.listen({port: Number(process.env.PORT), host: '127.0.0.1'});
console.log('listening');
