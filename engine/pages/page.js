'use strict';
/* What the scripts of all pages use. `page.data` is what the page was rendered with. */
const page = (() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const holder = document.getElementById('data');
  const data = holder ? JSON.parse(holder.textContent) : {};

  /* Keys: {key: action}; an action that returns false leaves the key to the browser. */
  function keys(actions) {
    document.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== 'checkbox') return;
      const act = actions[event.key] || actions[event.key.toLowerCase()];
      if (act && act(event) !== false) event.preventDefault();
    });
  }

  /* A line about what was just done, for some seconds; `action` is [label, function]. */
  let hiding = 0;
  function toast(text, action) {
    const box = one('#toast');
    (all('dialog').find((dialog) => dialog.open) || document.body).append(box); // what is outside an open dialog is under it
    const button = one('button', box);
    one('span', box).textContent = text;
    button.hidden = !action;
    if (action) {
      button.textContent = action[0];
      button.onclick = () => { box.hidden = true; action[1](); };
    }
    box.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { box.hidden = true; }, 8000);
  }

  function open(dialog) {
    if (!dialog.open) dialog.showModal();
  }
  for (const dialog of all('dialog')) { // a click beside a dialog closes it
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener('close', () => { const box = one('#toast', dialog); if (box) document.body.append(box); });
  }
  for (const button of all('[data-close]')) button.addEventListener('click', () => button.closest('dialog').close());
  for (const button of all('[data-open]')) button.addEventListener('click', () => open(one('#' + button.dataset.open)));

  /* A picture that cannot be loaded says why: the server has the reason in its answer. */
  async function explain(image) {
    const button = image.closest('[data-show]');
    if (button) { button.hidden = true; return; }
    let reason = 'The picture cannot be shown.';
    try { reason = await (await fetch(image.src)).text() || reason; } catch (error) { /* the server has ended */ }
    note(image, reason);
  }
  function note(image, reason) {
    const text = document.createElement('span');
    text.className = 'note';
    text.textContent = reason;
    image.hidden = true;
    const old = one('.note', image.parentElement);
    if (old) old.remove();
    image.after(text);
  }
  document.addEventListener('error', (event) => {
    if (event.target.tagName === 'IMG' && event.target.src.startsWith('http')) explain(event.target);
  }, true);

  /* The server of this page: act(request) resolves to its answer. changed(state, busy) gets each new state, busy while
     other actions have no answer; ended(why, lost) how many actions were never answered. */
  function server(changed, ended) {
    const most = 48 * 1024; // bytes of a request that outlives its page
    const queue = []; // what waits for the answer before it: {text, resolve}
    let last = Promise.resolve();
    let pending = 0; // actions without an answer
    let sending = false;
    let version = -1;
    let over = false;
    let left = false; // the tab is being closed, or another page is shown in it
    const headers = {'Content-Type': 'application/json', 'X-Myvlm-Token': data.token};
    const post = (place, body) => fetch(place, {method: 'POST', headers, body, keepalive: body.length < most});

    function count(by) {
      pending += by;
      document.body.setAttribute('aria-busy', String(pending > 0));
    }
    function end(why) {
      if (over) return;
      over = true;
      ended(why, pending);
      count(-pending);
      queue.splice(0).forEach(({resolve}) => resolve({error: 'myvlm has ended.'}));
    }
    function take(state) {
      if (state.version < version) return;
      version = state.version;
      changed(state, pending > 0);
    }
    function batch() { // the first that wait, as many as fit
      let size = 0;
      const fits = queue.findIndex(({text}) => { size += text.length + 1; return size > most - 100; });
      return queue.splice(0, fits < 0 ? queue.length : Math.max(1, fits));
    }
    async function flush() {
      if (over || !queue.length || (sending && !left)) return;
      sending = true;
      const acts = batch();
      let answers = [];
      try {
        const texts = acts.map(({text}) => text);
        const response = await post('act', acts.length > 1 ? '{"acts": [' + texts.join(',') + ']}' : texts[0]);
        const answer = await response.json();
        answers = answer.answers || acts.map(() => answer);
        count(-acts.length);
        const known = answers.filter((a) => a.version !== undefined).pop();
        if (known) take(known);
        if (answers.some((a) => a.error)) await poll(); // what was stored nevertheless
      } catch (error) {
        if (!left) end('lost');
      }
      acts.forEach(({resolve}, n) => resolve(answers[n] || {error: 'myvlm has ended.'}));
      sending = false;
      flush();
    }
    function act(request) { // one after the other, in the order of the keys
      if (over) return Promise.resolve({error: 'myvlm has ended.'});
      count(1);
      last = new Promise((resolve) => { queue.push({text: JSON.stringify(request), resolve}); });
      flush();
      return last;
    }
    async function poll() { // another tab may have decided
      if (over || left || pending) return;
      try {
        const response = await fetch('state?since=' + version);
        if (response.status === 200 && !pending) take(await response.json());
        if (response.status >= 400) end('lost');
      } catch (error) { if (!left) end('lost'); }
    }
    async function done() {
      await last;
      try { await post('done', '{}'); } catch (error) { /* it has ended already */ }
      end('done');
    }
    setInterval(poll, 3000);
    document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
    window.addEventListener('focus', poll);
    window.addEventListener('beforeunload', (event) => { if (pending && !over) event.preventDefault(); });
    window.addEventListener('pagehide', () => {
      left = true;
      flush(); // what waits goes without an answer
      if (!over) post('leave', '{}').catch(() => {});
    });
    window.addEventListener('pageshow', (event) => {
      left = false;
      if (event.persisted && pending) location.reload(); else poll();
    });
    return {act, poll, done, start: (state) => { version = state.version; }};
  }

  return {one, all, data, keys, toast, open, note, server};
})();
