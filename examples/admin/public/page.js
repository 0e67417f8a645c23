// SPDX-License-Identifier: PostgreSQL
//
// The page: asks the server, and shows what it says. Text from the database goes into text
// nodes and attributes only, never into HTML. The key is kept for this tab, and
// forgotten with it.

const $ = (selector, root = document) => root.querySelector(selector);
const dash = '–';

// make('td', {className: 'number'}, 'text', child, ...)
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ------------------------------------------------------------- the server

class Failure extends Error {}

async function ask(path, {method = 'GET', body} = {}) {
  const response = await fetch(`api/${path}`, {
    method,
    headers: {'Authorization': `Bearer ${sessionStorage.getItem('key') ?? ''}`, 'Content-Type': 'application/json'},
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();

  if (response.status === 401) logOut();
  if (!response.ok) throw new Failure([answer.message ?? answer.code, answer.detail, answer.hint].filter(Boolean).join(' '));
  return answer;
}

const post = (path, body = {}) => ask(path, {method: 'POST', body});

function show(error) {
  $('#error').textContent = error?.message ?? '';
  $('#error').hidden = !error;
}

// Runs what a person has asked for, and shows what went wrong.
const on = (element, type, work) => element.addEventListener(type, async (event) => {
  event.preventDefault();
  show(null);
  try { await work(event); } catch (error) { show(error); }
});

// ---------------------------------------------------------------- dialogs

// Resolves with the form's data, or null if it was cancelled.
function open(dialog) {
  const form = $('form', dialog);

  form.reset();
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close',
    () => resolve(dialog.returnValue ? Object.fromEntries(new FormData(form)) : null), {once: true}));
}

function question(title, label, button) {
  $('#ask h2').textContent = title;
  $('#ask label span').textContent = label;
  $('#ask button[value=yes]').textContent = button;
  return open($('#ask'));
}

async function showKey(key) {
  $('#made output').textContent = key.raw_key;
  await open($('#made'));
  $('#made output').textContent = '';
}

// ------------------------------------------------------------------- keys

const when = (text) => (text === null ? dash : text === 'infinity' ? 'never' : text.slice(0, 16));

async function rotate(key) {
  const answer = await question(`Rotate “${key.name}”`, 'The old key works on for', 'Rotate');
  if (!answer) return;
  await showKey(await post(`keys/${key.id}/rotate`, {grace: answer.answer}));
  await listKeys();
}

async function revoke(key) {
  const answer = await question(`Revoke “${key.name}” for good`, 'Reason', 'Revoke');
  if (!answer) return;
  await post(`keys/${key.id}/revoke`, {reason: answer.answer});
  await listKeys();
}

function action(label, key, work) {
  const button = make('button', {type: 'button'}, label);
  on(button, 'click', () => work(key));
  return button;
}

function keyRow(key) {
  const usable = key.status === 'active' || key.status === 'disabled';

  return make('tr', {},
    make('td', {}, make('code', {}, key.key_prefix)),
    make('td', {title: key.description ?? ''}, key.name),
    make('td', {title: key.revoke_reason ?? ''}, make('span', {className: `status ${key.status}`}, key.status)),
    make('td', {}, key.expires_at === null ? 'never' : when(key.expires_at)),
    make('td', {}, when(key.last_used_at)),
    make('td', {className: 'number'}, key.total_requests),
    make('td', {className: 'number'}, key.total_cost),
    make('td', {className: 'actions'},
      ...(usable ? [action('Rotate', key, rotate), ' ', action('Revoke', key, revoke)] : [])));
}

let last = null;    // key of the page that is shown

async function listKeys(after = null) {
  const parameters = new URLSearchParams(new FormData($('#filter')));
  if (after) {
    parameters.set('after', after.id);
    parameters.set('after_created_at', after.created_at);
  }
  const keys = await ask(`keys?${parameters}`);
  const rows = keys.map(keyRow);

  if (after) $('#keys tbody').append(...rows);
  else $('#keys tbody').replaceChildren(...rows);
  last = keys.at(-1) ?? null;
  $('#more').hidden = keys.length < 50;
}

async function newKey() {
  const answer = await open($('#make'));
  if (!answer) return;
  const models = answer.models.split(',').map((model) => model.trim()).filter(Boolean);
  await showKey(await post('keys', {
    name: answer.name,
    description: answer.description,
    expires_at: answer.expires_at,
    permissions: models.length ? {allowed_models: models} : {},
    rate_limits: answer.requests_per_minute ? {requests_per_minute: Number(answer.requests_per_minute)} : {},
  }));
  await listKeys();
}

// ------------------------------------------------------------------ usage

const shownDays = 30;
const compact = new Intl.NumberFormat('en', {notation: 'compact', maximumFractionDigits: 1});

// Bars by day, which is a UTC one; one colour for each model; the sixth is for all others.
function chart(rows, figure) {
  const [width, height, left, bottom] = [960, 320, 50, 40];
  const days = Array.from({length: shownDays}, (_, i) =>
    new Date(Date.now() - (shownDays - 1 - i) * 86400e3).toISOString().slice(0, 10));
  const models = [...new Set(rows.map((row) => row.model))];
  const sums = days.map((day) => rows.filter((row) => row.day === day)
    .reduce((sum, row) => sum + Number(row[figure]), 0));
  const top = Math.max(...sums, 1e-9);
  const step = (width - left) / days.length;
  const y = (value) => (height - bottom) * (1 - value / top) + 10;
  const svg = draw('svg', {viewBox: `0 0 ${width} ${height + 20}`, role: 'img', 'aria-label': `${figure} by day`});

  for (const part of [0, .5, 1]) {
    svg.append(draw('line', {x1: left, x2: width, y1: y(top * part), y2: y(top * part)}),
      draw('text', {x: left - 6, y: y(top * part) + 4, 'text-anchor': 'end'}, compact.format(top * part)));
  }
  days.forEach((day, i) => {
    let below = 0;
    for (const row of rows.filter((row) => row.day === day)) {
      const value = Number(row[figure]);
      svg.append(draw('rect', {
        class: `s${Math.min(models.indexOf(row.model), 5)}`, x: left + i * step + step * .15, width: step * .7,
        y: y(below + value), height: y(below) - y(below + value),
      }, draw('title', {}, `${day} ${row.model} ${row[figure]}`)));
      below += value;
    }
    if (i % 3 === 0) {
      svg.append(draw('text', {x: left + (i + .5) * step, y: height - 14, 'text-anchor': 'middle'}, day.slice(5)));
    }
  });
  models.slice(0, 6).forEach((model, i) => svg.append(
    draw('rect', {class: `s${i}`, x: left + i * 150, y: height, width: 10, height: 10}),
    draw('text', {x: left + i * 150 + 15, y: height + 9}, i === 5 ? 'others' : model || 'no model')));
  return svg;
}

async function showUsage() {
  const rows = await ask(`usage?days=${shownDays}`);
  const figure = $('#usage select').value;

  $('#usage figure').replaceChildren(rows.length ? chart(rows, figure) : make('p', {}, `Nothing was used in ${shownDays} days.`));
}

// --------------------------------------------------------------- budgets

function budgetBar(budget) {
  const all = Number(budget.max_cost ?? Infinity) + Number(budget.added);
  const part = (amount) => (Number.isFinite(all) && all > 0 ? Math.min(100 * Number(amount) / all, 100) : 0);
  const spent = part(budget.spent);

  return make('div', {className: 'budget'},
    make('p', {}, make('strong', {}, budget.name), make('span', {}, budget.max_cost === null ?
      `${budget.spent} spent, no limit` : `${budget.spent} of ${all} spent, ${budget.reserved} reserved`)),
    draw('svg', {viewBox: '0 0 100 1', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${Math.round(spent)} %`},
      draw('rect', {class: spent >= 100 ? 'over' : 'spent', width: spent, height: 1}),
      draw('rect', {class: 'reserved', x: spent, width: Math.min(part(budget.reserved), 100 - spent), height: 1})));
}

async function showBudgets() {
  const budgets = await ask('budgets');
  $('#budgets').replaceChildren(...(budgets.length ? budgets.map(budgetBar) : [make('p', {}, 'There is no budget.')]));
}

// ---------------------------------------------------------------- events

async function showEvents() {
  $('#events tbody').replaceChildren(...(await ask('events')).map((event) => make('tr', {},
    make('td', {}, when(event.at)), make('td', {}, event.action), make('td', {}, make('code', {}, event.key_id?.slice(0, 8) ?? dash)),
    make('td', {}, event.acting_role), make('td', {}, make('code', {}, event.details ? JSON.stringify(event.details) : '')))));
}

// ------------------------------------------------------------------ tabs

const tabs = {keys: listKeys, usage: showUsage, budgets: showBudgets, events: showEvents};

async function go(name) {
  for (const main of document.querySelectorAll('main')) main.hidden = main.id !== name;
  for (const tab of $('#tabs').children) tab.toggleAttribute('aria-current', tab.value === name);
  await tabs[name]?.();
}

function tab(name) {
  const button = make('button', {type: 'button', value: name}, name[0].toUpperCase() + name.slice(1));
  on(button, 'click', () => go(name));
  return button;
}

async function start() {
  const me = await ask('me');
  $('#tabs').replaceChildren(...Object.keys(tabs).slice(0, me.access === 'manage' ? 4 : 2).map(tab));
  $('#who').textContent = me.name;
  $('#tabs').hidden = $('#leave').hidden = false;
  await go('keys');
}

function logOut() {
  sessionStorage.removeItem('key');
  $('#tabs').hidden = $('#leave').hidden = true;
  $('#who').textContent = '';
  go('login');
}

on($('#login form'), 'submit', async (event) => {
  sessionStorage.setItem('key', event.target.key.value.trim());
  event.target.reset();
  await start();
});
on($('#leave'), 'click', logOut);
on($('#filter'), 'submit', () => listKeys());
on($('#more'), 'click', () => listKeys(last));
on($('#new'), 'click', newKey);
on($('#usage select'), 'change', showUsage);
if (sessionStorage.getItem('key')) start().catch(show);
