'use strict';
/* Where choices are kept: in the store of myvlm, by the server of the page, or in this browser until they are saved. */
function makeStore(review) {
  return page.data.served ? serverStore(review) : browserStore(review);
}

function serverStore({accept, finished}) {
  let undoable = page.data.state.can_undo;
  let known = page.data.state; // what the server acknowledged last
  const take = (state, busy) => {
    known = state;
    if (busy) return; // the page is ahead
    undoable = state.can_undo;
    accept(state);
  };
  const server = page.server(take, (why, lost) => finished(why, lost, known.choices));
  server.start(page.data.state);
  return {
    first: () => page.data.state,
    canUndo: () => undoable,
    decide: (items, choice) => { undoable = true; return server.act({do: 'choose', items, choice}); },
    undo: () => server.act({do: 'undo'}),
    finish: () => server.done(),
  };
}

function browserStore({count, choices, accept}) {
  const key = 'myvlm-review-' + page.data.page;
  const steps = [];
  function keep() {
    const kept = {};
    choices().forEach((choice, n) => { if (choice) kept[n] = choice; });
    try {
      if (Object.keys(kept).length) localStorage.setItem(key, JSON.stringify(kept));
      else localStorage.removeItem(key);
    } catch (error) { /* no storage here: choices last until the page is closed */ }
  }
  function unkeep() { // what is saved must not outlive the page
    try { localStorage.removeItem(key); } catch (error) { /* as above */ }
  }
  function first() {
    const found = Array(count).fill('');
    try {
      const kept = JSON.parse(localStorage.getItem(key)) || {};
      for (let n = 0; n < count; n += 1) if (['confirm', 'reject', 'skip'].includes(kept[n])) found[n] = kept[n];
    } catch (error) { /* as above */ }
    before = found.slice();
    return {choices: found};
  }
  let before = [];
  function decide(items) {
    steps.push(items.map((n) => [n, before[n]]));
    before = choices().slice();
    keep();
    return Promise.resolve({});
  }
  function undo() {
    const step = steps.pop();
    if (!step) return Promise.resolve({});
    for (const [n, choice] of step) before[n] = choice;
    accept({choices: before.slice()});
    keep();
    return Promise.resolve({changed: step.map(([n]) => n)});
  }
  function finish() {
    const lines = [];
    choices().forEach((choice, n) => {
      if (choice === 'confirm' || choice === 'reject') lines.push(page.data.lines[n][choice === 'confirm' ? 0 : 1] + '\n');
    });
    if (!lines.length) { page.toast('Nothing is decided yet.'); return; }
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob(lines, {type: 'application/x-ndjson'}));
    link.download = 'myvlm-decisions.jsonl';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unkeep();
    page.toast(lines.length + (lines.length === 1 ? ' decision' : ' decisions') +
      ' saved as myvlm-decisions.jsonl. Now run: myvlm review --apply PATH/myvlm-decisions.jsonl');
  }
  return {first, canUndo: () => steps.length > 0, decide, undo, finish};
}
