'use strict';
/* The review page: cards, choices, keys. Where choices are kept is review_store.js; review_look.js enlarges a photo. */
(() => {
  const {one, all, data} = page;
  const cards = all('.card');
  if (!cards.length) return;
  const groups = all('.group');
  const chips = all('.chip[data-group]');
  const {look, fill, source} = makeLook((by) => step(by));
  const verdicts = {confirm: ['✓ ', ''], reject: ['✗ not ', ''], skip: ['Skipped', null]};
  const concepts = cards.map((card) => card.closest('.group').dataset.concept);
  const groupOf = cards.map((card) => groups.indexOf(card.closest('.group')));
  let choices = cards.map(() => '');
  let hides = false; // decided ones
  let now = -1;
  let anchor = -1; // where a range begins
  const picked = new Set();

  /* ---- What is shown ---- */
  function words(n) {
    const verdict = verdicts[choices[n]];
    if (!verdict) return '';
    return verdict[1] === null ? verdict[0] : verdict[0] + concepts[n];
  }
  function show(n) {
    const card = cards[n];
    card.classList.remove('confirm', 'reject', 'skip');
    if (choices[n]) card.classList.add(choices[n]);
    one('.verdict', card).textContent = words(n);
    pressChoice(card, choices[n]);
  }
  const fillLook = (n) => fill(cards[n], concepts[n], choices[n], words(n));
  function problem(n, text) {
    const line = one('.problem', cards[n]);
    line.textContent = text || '';
    line.hidden = !text;
  }
  const isOpen = (n) => choices[n] === '';
  const isShown = (n) => cards[n].offsetParent !== null;
  function tally() {
    const open = choices.filter((c) => c === '').length;
    one('#count').textContent = open ? (cards.length - open) + ' of ' + cards.length + ' done' : 'All ' + cards.length + ' done';
    one('#progress').value = cards.length - open;
    one('#finish').classList.toggle('primary', open === 0);
    one('#undo').disabled = !store.canUndo();
    const left = groups.map(() => 0);
    for (const n of cards.keys()) if (isOpen(n)) left[groupOf[n]] += 1;
    for (const [g, group] of groups.entries()) {
      one('.left-text', group).textContent = left[g] ? left[g] + ' to decide' : 'all done';
      const chip = chips.find((c) => c.dataset.group === String(g));
      if (chip) one('.left', chip).textContent = left[g] || '✓';
    }
    if (hides) filter();
  }
  function filter() { // by the chosen concept, and whether decided ones are hidden
    const chosen = chips.find((c) => c.getAttribute('aria-pressed') === 'true');
    const group = chosen ? chosen.dataset.group : '';
    const some = groups.map(() => false);
    for (const [n, card] of cards.entries()) {
      card.hidden = hides && !isOpen(n) && !(look.open && n === now);
      some[groupOf[n]] = some[groupOf[n]] || !card.hidden;
    }
    for (const [g, section] of groups.entries()) section.hidden = !some[g] || (group !== '' && group !== String(g));
    one('#empty').hidden = groups.some((section) => !section.hidden);
    for (const n of [...picked]) if (cards[n].hidden || groups[groupOf[n]].hidden) pick(n, false);
    picks();
  }

  /* ---- Where the user is ---- */
  function go(n, {focus = true} = {}) {
    if (n < 0 || n >= cards.length) return;
    if (now >= 0) cards[now].classList.remove('now');
    now = n;
    cards[n].classList.add('now');
    if (look.open) fillLook(n);
    if (focus) {
      if (!look.open) cards[n].focus({preventScroll: true});
      cards[n].scrollIntoView({block: 'nearest'});
    }
  }
  function step(by) {
    for (let n = now + by; n >= 0 && n < cards.length; n += by) {
      if (isShown(n)) { go(n); return n; }
    }
    return now;
  }
  function row(by) { // the nearest card in the row above or below
    const here = cards[Math.max(now, 0)].getBoundingClientRect();
    let best = -1;
    for (let n = now + by, top = null; n >= 0 && n < cards.length; n += by) {
      if (!isShown(n)) continue;
      const box = cards[n].getBoundingClientRect();
      if (Math.abs(box.top - here.top) < 4) continue;
      if (top === null) top = box.top;
      if (Math.abs(box.top - top) > 4) break;
      const distance = (k) => Math.abs(cards[k].getBoundingClientRect().left - here.left);
      if (best < 0 || distance(n) < distance(best)) best = n;
    }
    if (best >= 0) go(best);
  }
  function onward() { // to the next undecided card, first behind this one
    for (let k = 1; k <= cards.length; k += 1) {
      const n = (now + k) % cards.length;
      if (isOpen(n) && isShown(n)) { go(n); return; }
    }
    if (look.open) fillLook(now);
  }

  /* ---- Selecting ---- */
  function pick(n, on) {
    if (on) picked.add(n); else picked.delete(n);
    cards[n].classList.toggle('picked', on);
    one('.pick input', cards[n]).checked = on;
  }
  function picks() {
    document.body.classList.toggle('selecting', picked.size > 0);
    one('#selection').hidden = picked.size === 0;
    one('#selection b').textContent = picked.size + ' selected';
  }
  function range(n) {
    const [from, to] = anchor < 0 ? [n, n] : [Math.min(anchor, n), Math.max(anchor, n)];
    for (let k = from; k <= to; k += 1) if (isShown(k)) pick(k, true);
    picks();
  }
  function toggle(n, event) {
    if (event.shiftKey && anchor >= 0) range(n);
    else { pick(n, !picked.has(n)); anchor = n; picks(); }
    go(n, {focus: false});
  }
  function unselect() {
    for (const n of [...picked]) pick(n, false);
    picks();
  }
  function selectGroup(group) {
    for (const card of all('.card', group)) if (isOpen(Number(card.dataset.number))) pick(Number(card.dataset.number), true);
    picks();
  }

  /* ---- Deciding ---- */
  async function decide(numbers, choice) {
    if (!numbers.length) return;
    for (const n of numbers) { choices[n] = choice; show(n); problem(n, ''); }
    tally();
    report(await store.decide(numbers, choice));
  }
  function report(answer) {
    for (const [n, reason] of Object.entries(answer.failed || {})) problem(Number(n), 'Not stored: ' + reason);
    const failed = Object.keys(answer.failed || {});
    const name = (n) => one('.name', cards[n]).textContent;
    if (answer.error) page.toast(answer.error);
    else if (failed.length === 1) page.toast(name(failed[0]) + ' could not be stored: ' + answer.failed[failed[0]]);
    else if (failed.length) page.toast(failed.length + ' could not be stored');
    tally();
    if (look.open && failed.length) fillLook(now);
  }
  function choose(choice) { // by a key or a button; an enlarged photo is asked about alone
    if (picked.size && !look.open) {
      const numbers = [...picked].sort((a, b) => a - b);
      unselect();
      decide(numbers, choice);
      const told = {confirm: ' confirmed', reject: ' rejected', skip: ' skipped'}[choice];
      page.toast(numbers.length + told, ['Undo', undo]);
    } else if (now >= 0) {
      decide([now], choice);
      onward();
    }
  }
  async function undo() {
    const answer = await store.undo();
    const changed = answer.changed || [];
    if (!changed.length && !answer.error && !Object.keys(answer.failed || {}).length) page.toast('Nothing to undo');
    for (const n of changed) problem(n, '');
    if (changed.length) go(changed[0]);
    report(answer);
  }
  function accept(state) { // the server's word, or what this browser kept
    for (const n of cards.keys()) {
      if (choices[n] !== state.choices[n]) { choices[n] = state.choices[n]; show(n); }
    }
    tally();
    if (look.open) fillLook(now);
  }
  function finished(why, lost, stored) { // stored: the choices that the server has acknowledged
    const of = (choice) => stored.filter((c) => c === choice).length;
    const unstored = choices.filter((c, n) => c !== stored[n]).length;
    one('main').hidden = true;
    one('.bar .end').hidden = true;
    for (const dialog of all('dialog')) if (dialog.open) dialog.close();
    const over = one('#over');
    one('h2', over).textContent = why === 'done' ? 'Done' : 'This review has ended';
    const told = unstored === 1 ? '1 decision was not stored.' : unstored ? unstored + ' decisions were not stored.'
      : lost ? 'Your last step was not carried out.' : 'Everything you decided is stored. You can close this tab.';
    one('.soft', over).textContent = of('confirm') + ' confirmed, ' + of('reject') + ' rejected, ' + (of('skip') + of('')) +
      ' undecided. ' + told;
    one('code', over).textContent = why === 'done' && !unstored ? data.next : data.again;
    over.hidden = false;
  }

  /* ---- A photo enlarged ---- */
  function enlarge(n) {
    go(n, {focus: false});
    page.open(look);
    fillLook(n);
  }
  look.addEventListener('close', () => { tally(); if (now >= 0) go(now); });

  /* ---- Events ---- */
  for (const [n, card] of cards.entries()) {
    card.addEventListener('focusin', () => go(n, {focus: false}));
    for (const button of all('[data-look]', card)) {
      button.addEventListener('click', (event) => {
        if (event.shiftKey || event.ctrlKey || event.metaKey) toggle(n, event); else enlarge(n);
      });
    }
    one('.pick', card).addEventListener('click', (event) => { event.preventDefault(); toggle(n, event); });
    for (const button of all('[data-choice]', card)) {
      button.addEventListener('click', () => {
        go(n, {focus: false});
        decide([n], choices[n] === button.dataset.choice ? '' : button.dataset.choice);
      });
    }
    show(n);
  }
  for (const button of all('[data-choice]', look)) button.addEventListener('click', () => choose(button.dataset.choice));
  for (const button of all('#selection [data-choice]')) button.addEventListener('click', () => choose(button.dataset.choice));
  for (const button of all('[data-next]', look)) button.addEventListener('click', () => step(1));
  one('[data-previous]', look).addEventListener('click', () => step(-1));
  for (const button of all('[data-show]')) {
    button.addEventListener('click', () => { one('#show-image').src = source(button.dataset.show); page.open(one('#show')); });
  }
  for (const group of groups) one('.select-all', group).addEventListener('click', () => selectGroup(group));
  for (const chip of chips) {
    chip.addEventListener('click', () => {
      for (const other of chips) other.setAttribute('aria-pressed', String(other === chip));
      unselect();
      filter();
      window.scrollTo(0, 0);
    });
  }
  one('#hide').addEventListener('click', (event) => {
    hides = !hides;
    event.currentTarget.setAttribute('aria-pressed', String(hides));
    filter();
  });
  one('#unselect').addEventListener('click', unselect);
  one('#undo').addEventListener('click', undo);
  one('#finish').addEventListener('click', () => store.finish());

  const free = () => !one('#help').open && !one('#show').open;
  const only = (act) => (event) => free() ? act(event) : false;
  const extend = (move) => only((event) => {
    const from = now;
    move();
    if (!event.shiftKey || look.open) return;
    if (anchor < 0 || !picked.size) anchor = from;
    range(now);
  });
  page.keys({
    y: only(() => choose('confirm')), n: only(() => choose('reject')), s: only(() => choose('skip')), u: only(undo),
    ArrowRight: extend(() => step(1)), ArrowLeft: extend(() => step(-1)), j: extend(() => step(1)), k: extend(() => step(-1)),
    ArrowDown: extend(() => look.open ? step(1) : row(1)), ArrowUp: extend(() => look.open ? step(-1) : row(-1)),
    Enter: (event) => event.target.closest('button, a') || !free() || look.open || now < 0 ? false : enlarge(now),
    x: only((event) => !look.open && now >= 0 && toggle(now, event)),
    a: only(() => !look.open && now >= 0 && selectGroup(cards[now].closest('.group'))),
    Escape: (event) => { if (look.open || !free() || !picked.size) return false; unselect(); return event; },
    '?': () => page.open(one('#help')),
  });

  /* ---- Begin ---- */
  if (!data.served) {
    for (const image of all('img[data-picture]:not([src])')) image.src = data.pictures[Number(image.dataset.picture)];
  }
  const store = makeStore({count: cards.length, choices: () => choices, accept, finished});
  accept(store.first());
  const first = choices.findIndex((c) => c === '');
  go(Math.max(0, first), {focus: first > 0});
})();
