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

  /* The server of this page: act(request) resolves to its answer; `changed` gets each new state. */
  function server(changed, ended) {
    let waiting = Promise.resolve();
    let pending = 0;
    let version = -1;
    let over = false;
    let left = false; // the tab is being closed, or another page is shown in it
    const headers = {'Content-Type': 'application/json', 'X-Myvlm-Token': data.token};
    const post = (place, request) =>
      fetch(place, {method: 'POST', headers, body: JSON.stringify(request), keepalive: place === 'leave'});

    function count(by) {
      pending += by;
      document.body.setAttribute('aria-busy', String(pending > 0));
    }
    function end(why) {
      if (over) return;
      over = true;
      ended(why);
    }
    async function send(request) {
      try {
        const response = await post('act', request);
        const answer = await response.json();
        if (answer.version !== undefined) version = answer.version;
        count(-1);
        if (!pending && answer.version !== undefined) changed(answer);
        return answer;
      } catch (error) {
        count(-1);
        end('lost');
        return {error: 'myvlm has ended.'};
      }
    }
    function act(request) { // one after the other, in the order of the keys
      count(1);
      const answer = waiting.then(() => send(request));
      waiting = answer;
      return answer;
    }
    async function poll() { // another tab may have decided
      if (over || left || pending) return;
      try {
        const response = await fetch('state?since=' + version);
        if (response.status === 200 && !pending) {
          const state = await response.json();
          version = state.version;
          changed(state);
        }
        if (response.status >= 400) end('lost');
      } catch (error) { end('lost'); }
    }
    async function done() {
      await waiting;
      try { await post('done', {}); } catch (error) { /* it has ended already */ }
      end('done');
    }
    setInterval(poll, 3000);
    document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
    window.addEventListener('focus', poll);
    window.addEventListener('pagehide', () => {
      left = true;
      if (!over) post('leave', {}).catch(() => {});
    });
    window.addEventListener('pageshow', () => { left = false; poll(); });
    return {act, poll, done, start: (state) => { version = state.version; }};
  }

  return {one, all, data, keys, toast, open, note, server};
})();
