'use strict';
// Filters, years and the start of the gallery.

const chosen = new Set(); // numbers of names
const words = document.getElementById('words');
const parts = Object.fromEntries(['count', 'names', 'all', 'every', 'clear', 'years', 'nothing', 'more', 'captions', 'when', 'order']
  .map((id) => [id, document.getElementById(id)]));
const GROUPS = [['person', 'People'], ['pet', 'Pets'], ['thing', 'Things'], ['', 'Keywords']];
const MOST_CHIPS = 14, MOST_LISTED = 300;
let allOpen = false;
let asked = false;

function whenPhotosCame() { // the first are shown at once
  if (asked) return;
  if (!grid.rows.length) {
    showThem();
    return;
  }
  asked = true;
  requestAnimationFrame(() => { asked = false; showThem(); });
}

function showThem() {
  refresh();
  if (viewer.photo) showPlace(); else followAddress();
}

function refresh() {
  const list = inOrder(findPhotos(chosen, words.value));
  const filtered = chosen.size > 0 || words.value.trim() !== '';
  const total = head.photos.toLocaleString('en-GB');
  parts.count.textContent = filtered ? `${list.length.toLocaleString('en-GB')} of ${counted(head.photos)}`
    : photos.length < head.photos ? `${photos.length.toLocaleString('en-GB')} of ${total} photos read` : counted(head.photos);
  parts.clear.hidden = !filtered;
  parts.nothing.hidden = list.length > 0 || photos.length === 0;
  showChips(filtered ? countNames(list) : names.map((name) => name.photos));
  showYears(list);
  showInGrid(list);
  whenScrolled();
}

function makeChip(name, act, number = null) {
  const chip = element('button', {type: 'button', className: name.kind ? `chip colour-${name.colour}` : 'chip', textContent: name.name});
  if (number !== null) chip.append(element('span', {className: 'soft small', textContent: number.toLocaleString('en-GB')}));
  chip.addEventListener('click', act);
  return chip;
}

function filterChip(name, counts) {
  const chip = makeChip(name, () => choose(name.number, !chosen.has(name.number)), counts[name.number]);
  chip.setAttribute('aria-pressed', String(chosen.has(name.number)));
  chip.dataset.name = name.number;
  chip.classList.toggle('none', counts[name.number] === 0);
  return chip;
}

function showChips(counts) {
  const focused = document.activeElement && document.activeElement.dataset.name;
  const order = (name) => (chosen.has(name.number) ? 0 : counts[name.number] ? 1 : 2); // what is chosen, what can be
  const first = [...names].sort((a, b) => order(a) - order(b) || a.number - b.number).slice(0, Math.max(MOST_CHIPS, chosen.size));
  parts.names.replaceChildren(...first.map((name) => filterChip(name, counts)));
  parts.every.hidden = !allOpen && names.length === first.length && parts.names.scrollWidth <= parts.names.clientWidth;
  parts.every.setAttribute('aria-expanded', String(allOpen));
  parts.all.hidden = !allOpen;
  parts.all.replaceChildren(...(allOpen ? GROUPS : []).flatMap(([kind, title]) => {
    const group = names.filter((name) => name.kind === kind);
    const rest = group.length > MOST_LISTED ? [`and ${(group.length - MOST_LISTED).toLocaleString('en-GB')} more, for Search`] : [];
    const chips = group.slice(0, MOST_LISTED).map((name) => filterChip(name, counts));
    return group.length ? [element('h2', {textContent: title}), element('div', {className: 'chips'}, ...chips, ...rest)] : [];
  }));
  const again = focused && document.querySelector(`${parts.all.hidden ? '#names' : '#all'} [data-name="${focused}"]`);
  if (again) again.focus({preventScroll: true});
}

function choose(number, on) {
  if (on) chosen.add(number); else chosen.delete(number);
  toTop();
  refresh();
}

function clearFilters() {
  chosen.clear();
  words.value = '';
  toTop();
  refresh();
}

function toTop() {
  window.scrollTo(0, 0);
}

function showYears(list) {
  const months = new Map(), years = new Map();
  for (const photo of isRanked() ? [] : list) {
    months.set(photo.month, (months.get(photo.month) || 0) + 1);
    years.set(photo.month.slice(0, 4), (years.get(photo.month.slice(0, 4)) || 0) + 1);
  }
  const links = [], options = [];
  for (const [year, number] of years) {
    links.push(yearLink(year, year || 'No date', number, 'year'));
    options.push(element('option', {value: year, textContent: `${year || 'No date'} (${number})`}));
    for (const [month, inMonth] of months) {
      if (month.length <= 4 || month.slice(0, 4) !== year) continue;
      links.push(yearLink(month, MONTHS[month.slice(5) - 1], inMonth, 'month'));
      options.push(element('option', {value: month, textContent: `\u2003${MONTHS[month.slice(5) - 1].slice(0, 3)} ${year} (${inMonth})`}));
    }
  }
  parts.years.replaceChildren(...(links.length > 1 ? links : []));
  parts.when.hidden = options.length < 2;
  parts.when.firstElementChild.nextElementSibling.replaceChildren(...options);
}

function yearLink(part, text, number, kind) {
  const link = element('a', {href: '#photos', className: kind, textContent: text}, element('span', {className: 'count', textContent: number.toLocaleString('en-GB')}));
  link.dataset.part = part;
  return link;
}

function goTo(part) {
  const top = grid.tops.get(part);
  if (top === undefined) return;
  const filters = document.getElementById('filters').offsetHeight + document.querySelector('.bar').offsetHeight;
  window.scrollTo(0, Math.max(0, window.scrollY + grid.place.getBoundingClientRect().top + top - filters));
}

function whenScrolled() {
  const filters = document.getElementById('filters').getBoundingClientRect().bottom;
  const row = grid.rows.slice(firstRowBelow(filters - grid.place.getBoundingClientRect().top)).find((r) => r.tiles);
  const month = row ? row.tiles[0].photo.month : null;
  for (const link of parts.years.children) {
    const isHere = link.dataset.part === month && (link.className === 'month' || month.length <= 4);
    if (isHere) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
    link.hidden = link.className === 'month' && (month === null || link.dataset.part.slice(0, 4) !== month.slice(0, 4));
  }
  if (month !== null) parts.when.lastElementChild.value = month;
}

function setCaptions(on) {
  grid.withCaptions = on;
  parts.captions.setAttribute('aria-pressed', String(on));
  try { localStorage.setItem('myvlm-gallery-captions', on ? 'yes' : 'no'); } catch (error) { /* no storage here */ }
}

function start() {
  try { setCaptions(localStorage.getItem('myvlm-gallery-captions') !== 'no'); } catch (error) { /* no storage here */ }
  if (head.more) {
    parts.more.hidden = false;
    parts.more.textContent = `${counted(head.more)} more were found but are not on this page.`;
  }
  parts.order.hidden = !head.order || !head.photos;
  parts.order.firstElementChild.textContent = head.order;
  parts.order.addEventListener('change', () => { toTop(); refresh(); });
  words.addEventListener('input', () => { toTop(); refresh(); });
  parts.clear.addEventListener('click', clearFilters);
  parts.every.textContent = `All ${names.length.toLocaleString('en-GB')}`;
  parts.every.setAttribute('aria-label', `All ${names.length.toLocaleString('en-GB')} names`);
  parts.every.addEventListener('click', () => { allOpen = !allOpen; refresh(); });
  parts.nothing.querySelector('button').addEventListener('click', clearFilters);
  parts.captions.addEventListener('click', () => { setCaptions(!grid.withCaptions); layOut(); });
  parts.when.lastElementChild.addEventListener('change', (event) => goTo(event.target.value));
  parts.years.addEventListener('click', (event) => {
    const link = event.target.closest('a');
    if (!link) return;
    event.preventDefault();
    goTo(link.dataset.part);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || viewer.dialog.open || event.target.closest('input, select, textarea')) return;
    event.preventDefault();
    words.focus();
  });
  showChips(names.map((name) => name.photos));
  watchGrid();
  watchViewer();
  loadPages();
}

start();
