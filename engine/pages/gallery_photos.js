'use strict';
// The photos of the gallery, which arrive in pages, and the search for those that have names and words.

const head = JSON.parse(document.getElementById('data').textContent);
const names = head.names.map(([name, kind, photos, colour], number) => ({name, kind, photos, colour, number}));
const photos = [];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
  'November', 'December'];
const waiting = new Map(); // pages that came before an earlier one
let nextPage = 0;

function myvlmPage(number, page) { // called by the files of data
  waiting.set(number, page);
  while (waiting.has(nextPage)) {
    for (const photo of waiting.get(nextPage)) photos.push(prepared(photo, photos.length));
    waiting.delete(nextPage);
    nextPage += 1;
  }
  whenPhotosCame();
}

function loadPages() {
  if (head.pages) {
    head.pages.forEach((page, number) => myvlmPage(number, page));
    return;
  }
  for (const file of head.scripts) {
    const script = document.createElement('script');
    script.src = file;
    script.async = false;
    document.body.append(script);
  }
}

function prepared(photo, number) {
  const date = /^(\d{4})(?:-(0[1-9]|1[0-2])(?:-(\d{2})(?:T(\d{2}):(\d{2}))?)?)?/.exec(photo.taken || '');
  photo.number = number;
  photo.names = photo.names || [];
  photo.month = date ? (date[2] ? `${date[1]}-${date[2]}` : date[1]) : ''; // of some photos only the year is known
  photo.date = date ? [date[3] && Number(date[3]), date[2] && MONTHS[date[2] - 1], date[1]].filter(Boolean).join(' ') : '';
  photo.time = date && date[4] ? `${date[4]}:${date[5]}` : '';
  photo.words = null; // made when it is needed
  return photo;
}

function folded(text) { // as the index folds: without accents and case
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}

function wordsOf(photo) {
  if (photo.words === null) {
    const parts = [photo.caption, ...photo.names.map((n) => names[n].name), photo.town, photo.date, photo.taken, photo.path];
    photo.words = folded(parts.filter(Boolean).join('\n'));
  }
  return photo.words;
}

function findPhotos(chosen, text) { // chosen: a set of numbers of names. All of them and all words must be there.
  const terms = folded(text).split(/\s+/).filter(Boolean);
  const wanted = [...chosen];
  if (!terms.length && !wanted.length) return photos;
  return photos.filter((photo) => wanted.every((n) => photo.names.includes(n)) &&
    terms.every((term) => wordsOf(photo).includes(term)));
}

function isRanked() { // shown by rank, not by date
  return Boolean(head.order) && document.getElementById('order').value === 'rank';
}

function inOrder(list) { // the data are in the order of rank where there is one
  if (!head.order || isRanked()) return list;
  const key = (photo) => photo.taken || '';
  return [...list].sort((a, b) => (key(a) < key(b)) - (key(a) > key(b)) || (a.path > b.path) - (a.path < b.path));
}

function countNames(list) { // how many of these photos have each name
  const counts = new Array(names.length).fill(0);
  for (const photo of list) for (const n of photo.names) counts[n] += 1;
  return counts;
}

function monthName(month) { // or the year, where only that is known
  return month.length > 4 ? `${MONTHS[month.slice(5) - 1]} ${month.slice(0, 4)}` : month || 'No date';
}

function counted(number) {
  return `${number.toLocaleString('en-GB')} ${number === 1 ? 'photo' : 'photos'}`;
}

function addressOf(photo) { // "" where a page from a server may not load it
  if (head.root.startsWith('file:') && location.protocol !== 'file:') return '';
  return head.root + (photo.address || photo.path);
}

function thumbnailOf(photo) {
  return photo.picture.startsWith('data:') ? photo.picture : head.thumbnails + photo.picture;
}

function describe(photo) { // one line about a photo
  return photo.caption || photo.names.map((n) => names[n].name).join(', ') || photo.date || fileName(photo);
}

function fileName(photo) {
  return photo.path.split('/').pop();
}

function element(tag, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
}

function drawBoxes(photo, into) {
  for (const [number, x, y, width, height] of photo.boxes || []) {
    const {name, colour} = names[number];
    const box = element('span', {className: `box colour-${colour}`}, element('span', {className: 'concept', textContent: name}));
    Object.assign(box.style, {left: `${x * 100}%`, top: `${y * 100}%`, width: `${width * 100}%`, height: `${height * 100}%`});
    const room = into.clientHeight * y;
    box.classList.toggle('high', room < 26);
    box.classList.toggle('right', x + width / 2 > 0.5 && x > 0.35);
    into.append(box);
  }
}

function removeBoxes(from) {
  for (const box of from.querySelectorAll('.box')) box.remove();
}
