'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const cards = Array.from(document.querySelectorAll('.card'));
  if (!cards.length) return;
  const count = document.getElementById('count');
  const said = document.getElementById('said');
  const words = {confirm: '✓ yes', reject: '✗ no'};
  const key = 'myvlm-review-' + data.page;
  let verdicts = {};
  let now = 0;

  for (const image of document.querySelectorAll('img[data-picture]')) {
    image.src = data.pictures[Number(image.dataset.picture)];
  }
  try {
    const kept = JSON.parse(localStorage.getItem(key)) || {};
    for (const n of cards.keys()) {
      if (kept[n] === 'confirm' || kept[n] === 'reject') verdicts[n] = kept[n];
    }
  } catch (error) { /* no storage here: decisions last until the page is closed */ }

  function keep() {
    try { localStorage.setItem(key, JSON.stringify(verdicts)); } catch (error) { /* as above */ }
  }

  function unkeep() { // what is saved must not outlive the page
    try { localStorage.removeItem(key); } catch (error) { /* as above */ }
  }

  function show(n) {
    const verdict = verdicts[n] || '';
    cards[n].classList.toggle('confirm', verdict === 'confirm');
    cards[n].classList.toggle('reject', verdict === 'reject');
    cards[n].querySelector('.verdict').textContent = words[verdict] || '';
    for (const button of cards[n].querySelectorAll('button[aria-pressed]')) {
      button.setAttribute('aria-pressed', String(button.dataset.verdict === verdict));
    }
  }

  function tally() {
    const decided = Object.keys(verdicts).length;
    count.textContent = decided + ' of ' + cards.length + ' decided';
    said.textContent = decided === cards.length ? 'All are decided: save them with s or the button.' : '';
  }

  function mark(n) {
    cards[now].classList.remove('now');
    now = n;
    cards[now].classList.add('now');
  }

  function go(n) {
    mark(Math.max(0, Math.min(cards.length - 1, n)));
    cards[now].focus({preventScroll: true});
    cards[now].scrollIntoView({block: 'nearest'});
  }

  function decide(n, verdict) {
    if (verdict) verdicts[n] = verdict; else delete verdicts[n];
    show(n);
    tally();
    if (Object.keys(verdicts).length) keep(); else unkeep();
  }

  function save() {
    const lines = [];
    for (const n of cards.keys()) {
      if (verdicts[n]) lines.push(data.lines[n][verdicts[n] === 'confirm' ? 0 : 1] + '\n');
    }
    if (!lines.length) {
      said.textContent = 'Nothing is decided yet.';
      return;
    }
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob(lines, {type: 'application/x-ndjson'}));
    link.download = 'myvlm-decisions.jsonl';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unkeep();
    said.textContent = lines.length + (lines.length === 1 ? ' decision' : ' decisions') +
      ' saved as myvlm-decisions.jsonl. Now run: myvlm review --apply PATH/myvlm-decisions.jsonl';
  }

  const keys = {
    j: () => go(now + 1), ArrowDown: () => go(now + 1), ArrowRight: () => go(now + 1),
    k: () => go(now - 1), ArrowUp: () => go(now - 1), ArrowLeft: () => go(now - 1),
    y: () => { decide(now, 'confirm'); go(now + 1); },
    n: () => { decide(now, 'reject'); go(now + 1); },
    u: () => { decide(now, ''); },
    s: save,
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key] || keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const [n, card] of cards.entries()) {
    card.addEventListener('focusin', () => mark(n));
    card.addEventListener('click', () => mark(n));
    for (const button of card.querySelectorAll('button')) {
      button.addEventListener('click', () => decide(n, button.dataset.verdict));
    }
    show(n);
  }
  document.getElementById('save').addEventListener('click', save);
  tally();
  go(0);
})();
