// SPDX-License-Identifier: PostgreSQL
//
// Stands in for a model that costs money: it streams words, and fails as the name of
// the model says.

const failures = new Map();

// Yields the words of an answer, one token each.
export async function* complete({model, prompt, max_tokens, signal}) {
  const words = Array.from({length: max_tokens}, (_, i) => `${prompt}${i + 1} `);

  if (model.endsWith('-down')) throw new Error('upstream is down');
  if (model.endsWith('-flaky')) {    // each prompt fails once
    const before = failures.get(prompt) ?? 0;
    failures.set(prompt, before + 1);
    if (before === 0) throw new Error('upstream is overloaded');
  }
  for (const [i, word] of words.entries()) {
    if (model.endsWith('-cut') && i === 3) throw new Error('upstream broke off');
    if (signal.aborted) return;
    await new Promise((resolve) => setTimeout(resolve, model.endsWith('-slow') ? 100 : 1));
    yield word;
  }
}
