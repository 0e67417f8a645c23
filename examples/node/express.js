// SPDX-License-Identifier: PostgreSQL
//
// Express with keys: a middleware verifies, and the routes know whose request it is.

import express from 'express';
import {keyOf, limitsOf, record, responseTo, time, usageOf, verify} from './keys.js';

const app = express();

app.use(async (request, response, next) => {
  const answer = await verify(keyOf(request.headers), {
    model: request.query.model,
    endpoint: request.path,
    address: request.socket.remoteAddress,
  });
  const {status, headers} = responseTo(answer);

  response.set(headers);
  if (!answer.valid) return response.status(status).json({code: answer.code, reason: answer.reason});
  request.key = answer;
  next();
});

app.get('/hello', (request, response) => {
  response.json({name: request.key.name, expires_at: time(request.key.expires_at)});
});
app.get('/usage', async (request, response) => response.json(await usageOf(request.key.id)));
app.get('/limits', async (request, response) => response.json(await limitsOf(request.key.id)));
app.post('/usage', async (request, response) => {
  await record(request.key.id, request.query.tokens, request.query.cost);
  response.sendStatus(204);
});

// No answer from the database is no yes.
app.use((error, request, response, next) => {
  console.error(error.message);
  response.status(503).json({code: 'UNAVAILABLE'});
});

app.listen(process.env.PORT, '127.0.0.1', () => console.log('listening'));
