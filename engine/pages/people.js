'use strict';
/* The people page: groups without a name, each with a field for one. */
(() => {
  const {one, all, data} = page;
  const cards = all('.card');
  const members = one('#members');
  const photo = one('#photo');
  let states = cards.map(() => ({name: '', ignored: false}));
  let undoable = false;
  let now = -1;

  /* ---- What is shown ---- */
  const isOpen = (n) => !states[n].name && !states[n].ignored;
  function show(n) {
    const card = cards[n];
    const state = states[n];
    for (const old of [...card.classList].filter((c) => c.startsWith('colour-'))) card.classList.remove(old);
    card.classList.toggle('named', Boolean(state.name));
    card.classList.toggle('ignored', state.ignored);
    if (state.name) card.classList.add('colour-' + state.colour);
    one('.verdict', card).textContent = state.name || (state.ignored ? 'Ignored' : '');
    const told = one('.told', card);
    told.textContent = [state.told, ...(state.notes || [])].filter(Boolean).join('\n');
    told.hidden = !told.textContent;
    one('[data-undo]', card).hidden = isOpen(n);
    if (!isOpen(n)) problem(n, '');
  }
  function problem(n, text) {
    const line = one('.problem', cards[n]);
    line.textContent = text || '';
    line.hidden = !text;
    one('[data-anyway]', cards[n]).hidden = true;
  }
  function tally() {
    const done = cards.filter((_, n) => !isOpen(n)).length;
    one('#count').textContent = done < cards.length ? done + ' of ' + cards.length + ' done' : 'All ' + cards.length + ' done';
    one('#progress').value = done;
    one('#finish').classList.toggle('primary', done === cards.length);
    one('#undo').disabled = !undoable;
  }
  function accept(state) {
    if (!state.groups) return;
    states = state.groups;
    undoable = state.can_undo;
    for (const n of cards.keys()) show(n);
    one('#names').replaceChildren(...state.names.map((name) => {
      const option = document.createElement('option');
      option.value = name;
      return option;
    }));
    tally();
  }

  /* ---- Where the user is ---- */
  const field = (n) => one('.naming input', cards[n]);
  function go(n, {focus = true, type = false} = {}) {
    if (n < 0 || n >= cards.length) return;
    if (now >= 0) cards[now].classList.remove('now');
    now = n;
    cards[n].classList.add('now');
    if (type && isOpen(n)) field(n).focus();
    else if (focus) cards[n].focus({preventScroll: true});
    if (focus || type) cards[n].scrollIntoView({block: 'nearest'});
  }
  function onward(type) { // to the next group that is open, first behind this one
    for (let k = 1; k <= cards.length; k += 1) {
      const n = (now + k) % cards.length;
      if (isOpen(n)) { go(n, {type}); return; }
    }
    cards[now].focus({preventScroll: true});
  }

  /* ---- Naming ---- */
  function report(n, answer) {
    if (answer.error) problem(n, answer.error);
    return !answer.error;
  }
  async function name(n, text, {type = false, anyway = false} = {}) {
    const given = text.trim();
    if (!given) { field(n).focus(); return; }
    problem(n, '');
    const told = one('.told', cards[n]);
    const wait = (busy) => {
      cards[n].setAttribute('aria-busy', String(busy));
      for (const button of all('.body button', cards[n])) button.disabled = busy;
      told.textContent = busy ? 'Learning ' + given + ' …' : told.textContent;
      told.hidden = !told.textContent;
    };
    wait(true);
    const answer = await server.act({do: 'name', group: n, name: given, anyway});
    wait(false);
    show(n);
    if (!report(n, answer)) { field(n).focus(); return; }
    if (answer.doubt) { ask(n, given, answer.doubt); return; }
    field(n).value = '';
    page.toast(states[n].name + ' is stored', ['Undo', () => undo(n)]);
    onward(type);
  }
  function ask(n, given, doubt) { // a second answer, by another button: Enter alone repeats the question
    problem(n, doubt);
    field(n).value = given;
    const button = one('[data-anyway]', cards[n]);
    button.textContent = 'It is ' + given + ': name it anyway';
    button.hidden = false;
    button.onclick = () => name(n, given, {anyway: true});
    field(n).focus();
  }
  async function ignore(n) {
    if (!isOpen(n)) return;
    problem(n, '');
    if (!report(n, await server.act({do: 'ignore', groups: [n]}))) return;
    page.toast('Ignored, in new photos, too', ['Undo', () => undo(n)]);
    onward(false);
  }
  async function undo(n) {
    const answer = await server.act(n === undefined ? {do: 'undo'} : {do: 'undo', group: n});
    const changed = answer.changed || [];
    if (answer.error) page.toast(answer.error);
    else if (!changed.length) page.toast('Nothing to undo');
    if (changed.length) go(changed[0]);
  }

  /* ---- All photos of a group ---- */
  function thumb([crop, whole, label, place]) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'picture';
    button.setAttribute('aria-label', label + ', ' + place + ': enlarge');
    button.title = label + '\n' + place;
    const image = document.createElement('img');
    image.alt = '';
    image.loading = 'lazy';
    image.src = 'picture/' + crop;
    button.append(image);
    button.addEventListener('click', () => {
      const old = one('.note', photo);
      if (old) old.remove();
      one('#photo-image').hidden = false;
      one('#photo-image').src = 'picture/' + whole;
      one('#photo-title b').textContent = label;
      one('#photo-title span').textContent = place;
      page.open(photo);
    });
    item.append(button);
    return item;
  }
  function look(n) {
    go(n, {focus: false});
    one('#members-title').textContent = states[n].name || cards[n].getAttribute('aria-label');
    one('.thumbs', members).replaceChildren(...data.members[n].map(thumb));
    const left = one('.left-out', members);
    left.textContent = cards[n].dataset.left + ' more are not shown.';
    left.hidden = cards[n].dataset.left === '0';
    page.open(members);
  }
  members.addEventListener('close', () => { if (now >= 0) go(now); });

  function finished(why, lost) {
    const named = states.filter((s) => s.name).length;
    const ignored = states.filter((s) => s.ignored).length;
    one('main').hidden = true;
    one('.bar .end').hidden = true;
    for (const dialog of all('dialog')) if (dialog.open) dialog.close();
    const over = one('#over');
    one('h2', over).textContent = why === 'done' ? 'Done' : 'This page has ended';
    one('.soft', over).textContent = named + ' named, ' + ignored + ' ignored, ' + (cards.length - named - ignored) +
      ' left. ' + (lost ? (lost === 1 ? '1 action was' : lost + ' actions were') + ' not carried out.'
      : 'Everything you did is stored. You can close this tab.');
    one('code', over).textContent = why === 'done' && named ? data.next : data.again;
    over.hidden = false;
  }

  /* ---- Events ---- */
  for (const [n, card] of cards.entries()) {
    card.addEventListener('focusin', () => go(n, {focus: false}));
    for (const button of all('[data-look]', card)) button.addEventListener('click', () => look(n));
    one('.naming', card).addEventListener('submit', (event) => {
      event.preventDefault();
      name(n, field(n).value, {type: document.activeElement === field(n)});
    });
    field(n).addEventListener('input', () => problem(n, ''));
    field(n).addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { event.preventDefault(); go(n); }
    });
    const maybe = one('[data-maybe]', card);
    if (maybe) maybe.addEventListener('click', () => name(n, maybe.dataset.maybe));
    one('[data-ignore]', card).addEventListener('click', () => { go(n, {focus: false}); ignore(n); });
    one('[data-undo]', card).addEventListener('click', () => undo(n));
  }
  one('#undo').addEventListener('click', () => undo());
  one('#finish').addEventListener('click', () => server.done());

  const free = () => all('dialog').every((dialog) => !dialog.open);
  const only = (act) => () => free() && now >= 0 ? act() : false;
  page.keys({
    ArrowRight: only(() => go(now + 1)), ArrowLeft: only(() => go(now - 1)), j: only(() => go(now + 1)), k: only(() => go(now - 1)),
    Enter: (event) => event.target.closest('button, a') || !free() || now < 0 || !isOpen(now) ? false : field(now).focus(),
    i: only(() => { ignore(now); }), o: only(() => look(now)), u: only(() => { undo(); }),
    '?': () => page.open(one('#help')),
  });

  const server = page.server(accept, finished);
  server.start(data.state);
  accept(data.state);
  if (cards.length) go(Math.max(0, states.findIndex((_, n) => isOpen(n))), {focus: false});
})();
