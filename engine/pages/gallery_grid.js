'use strict';
// The grid: rows of photos of one height under the names of months. Only the rows in sight are in the document, so that
// ten thousand photos are as quick as ten.

const GAP = 8, HEADING = 52, CAPTION = 44, LINE = 17, LETTER = 7, AROUND = 900; // pixels; a letter's is a guess
const FEW = 6; // photos on average, below which months, and years, have no heading of their own
const grid = {
  place: document.getElementById('photos'),
  photos: [],
  rows: [], // {top, height, tiles: [{photo, left, width}]} or {top, height, heading, number}
  tops: new Map(), // of months and years
  placeOf: new Map(), // from a photo's number to its row
  shown: new Map(), // from the number of a row to its elements
  current: null, // the photo that the Tab key reaches
  withCaptions: true,
};

function showInGrid(list) {
  grid.photos = list;
  if (!list.includes(grid.current)) grid.current = list[0] || null;
  layOut();
}

function layOut() {
  const width = grid.place.clientWidth;
  const high = window.innerWidth < 640 ? 132 : window.innerWidth < 1200 ? 196 : 228;
  Object.assign(grid, {rows: [], tops: new Map(), placeOf: new Map()});
  let top = 0;
  const whole = {heading: head.order, from: 0, to: grid.photos.length};
  for (const {heading, from, to} of isRanked() && grid.photos.length ? [whole] : groupByDate(grid.photos)) {
    grid.rows.push({top, height: HEADING, heading, number: to - from});
    top = fillRows(from, to, top + HEADING, width, high) + GAP;
  }
  grid.place.style.height = `${top}px`;
  for (const number of [...grid.shown.keys()]) removeRow(number);
  showRows();
}

function groupByDate(list) { // months; years where months have few photos; spans of years where these have few, too
  const groups = [];
  for (const year of runsOf(list, 0, list.length, (photo) => photo.month.slice(0, 4))) {
    const months = runsOf(list, year.from, year.to, (photo) => photo.month);
    const last = groups[groups.length - 1], number = year.to - year.from;
    if (!year.part || number / months.length >= FEW) {
      groups.push(...months.map(({part, from, to}) => ({heading: monthName(part), from, to})));
    } else if (last && last.years && Math.min(number, last.to - last.from) < FEW) {
      last.to = year.to;
      last.heading = `${year.part}–${last.years}`;
    } else {
      groups.push({heading: year.part, years: year.part, from: year.from, to: year.to});
    }
  }
  return groups;
}

function runsOf(list, from, to, partOf) { // photos one after another with the same part of the date
  const runs = [];
  for (let i = from; i < to; i += 1) {
    const part = partOf(list[i]), last = runs[runs.length - 1];
    if (last && last.part === part) last.to = i + 1; else runs.push({part, from: i, to: i + 1});
  }
  return runs;
}

function fillRows(from, to, top, width, high) { // each row is broken where its height is nearest to `high`
  const captions = grid.withCaptions && window.innerWidth >= 640;
  const heightOf = (shapes, number) => (width - (number - 1) * GAP) / shapes;
  let first = from;
  while (first < to) {
    let end = first, sum = 0;
    while (end < to && (end === first || heightOf(sum, end - first) > high)) {
      sum += shapeOf(grid.photos[end]);
      end += 1;
    }
    const shape = shapeOf(grid.photos[end - 1]), number = end - first;
    if (number > 1 && heightOf(sum - shape, number - 1) / high < high / heightOf(sum, number)) {
      sum -= shape;
      end -= 1;
    }
    const height = Math.min(heightOf(sum, end - first), end === to ? high : high * 1.5);
    const part = grid.photos.slice(first, end);
    const isLong = part.some((photo) => describe(photo).length * LETTER > shapeOf(photo) * height);
    const below = captions ? (isLong ? CAPTION : CAPTION - LINE) : 0;
    addRow(first, end, top, height, below);
    top += height + below + GAP;
    first = end;
  }
  return top;
}

function addRow(first, end, top, height, below) {
  const tiles = [];
  let left = 0;
  for (let i = first; i < end; i += 1) {
    const photo = grid.photos[i], width = shapeOf(photo) * height;
    tiles.push({photo, left, width});
    left += width + GAP;
    for (const part of [photo.month, photo.month.slice(0, 4)]) if (!grid.tops.has(part)) grid.tops.set(part, top - HEADING);
    grid.placeOf.set(photo.number, grid.rows.length);
  }
  grid.rows.push({top, height, below, tiles});
}

function shapeOf(photo) { // width by height; very long and very high photos are cut in the grid
  const [width, height] = photo.size || [1, 1];
  return Math.min(2.6, Math.max(0.55, width / height));
}

function showRows() {
  const start = -grid.place.getBoundingClientRect().top - AROUND, end = start + window.innerHeight + 2 * AROUND;
  const focused = document.activeElement && document.activeElement.closest('.tile');
  const first = firstRowBelow(start);
  let last = first;
  while (last < grid.rows.length && grid.rows[last].top < end) last += 1;
  for (const number of [...grid.shown.keys()]) {
    const keeps = focused && grid.shown.get(number).includes(focused);
    if ((number < first || number >= last) && !keeps) removeRow(number);
  }
  for (let number = first; number < last; number += 1) if (!grid.shown.has(number)) showRow(number);
  if (!focused) keepReachable();
}

function keepReachable() { // by the Tab key: where the current photo is out of sight, the first in sight becomes it
  const top = document.getElementById('filters').getBoundingClientRect().bottom - grid.place.getBoundingClientRect().top;
  const bottom = window.innerHeight - grid.place.getBoundingClientRect().top;
  const isInSight = (row) => row.tiles && row.top + row.height > top && row.top < bottom;
  const row = grid.current ? grid.rows[grid.placeOf.get(grid.current.number)] : null;
  if (row && isInSight(row)) return;
  let number = firstRowBelow(top);
  while (number < grid.rows.length && !isInSight(grid.rows[number]) && grid.rows[number].top < bottom) number += 1;
  if (number < grid.rows.length && isInSight(grid.rows[number])) makeCurrent(grid.rows[number].tiles[0].photo);
}

function makeCurrent(photo) {
  const row = grid.current ? grid.placeOf.get(grid.current.number) : undefined;
  if (grid.shown.has(row)) tileOf(grid.current).tabIndex = -1;
  grid.current = photo;
  tileOf(photo).tabIndex = 0;
}

function firstRowBelow(y) { // rows are in order: halve what is left
  let low = 0, high = grid.rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (grid.rows[middle].top + grid.rows[middle].height + CAPTION < y) low = middle + 1; else high = middle;
  }
  return low;
}

function showRow(number) {
  const row = grid.rows[number];
  const made = row.tiles ? row.tiles.map((tile) => makeTile(tile, row)) : [makeHeading(row)];
  const below = Math.min(...[...grid.shown.keys()].filter((other) => other > number));
  if (below < Infinity) grid.shown.get(below)[0].before(...made); else grid.place.append(...made); // in order, for readers
  grid.shown.set(number, made);
}

function removeRow(number) {
  for (const made of grid.shown.get(number)) made.remove();
  grid.shown.delete(number);
}

function makeHeading(row) {
  const made = element('h2', {textContent: row.heading}, element('span', {className: 'soft', textContent: counted(row.number)}));
  made.style.top = `${row.top + 14}px`;
  return made;
}

function makeTile({photo, left, width}, row) {
  const shot = element('span', {className: 'shot'});
  if (photo.picture) shot.append(element('img', {src: thumbnailOf(photo), alt: '', decoding: 'async', draggable: false}));
  else shot.append(element('span', {className: 'note', textContent: `${fileName(photo)}: ${photo.reason}`}));
  shot.style.height = `${row.height}px`;
  const tile = element('a', {className: 'tile', href: `#photo-${photo.number + 1}`}, shot);
  tile.setAttribute('aria-label', describe(photo));
  tile.tabIndex = photo === grid.current ? 0 : -1;
  tile.photo = photo;
  if (row.below) tile.append(element('span', {className: 'said', textContent: photo.picture ? describe(photo) : ''}));
  Object.assign(tile.style, {left: `${left}px`, top: `${row.top}px`, width: `${width}px`});
  return tile;
}

function tileOf(photo) {
  const row = grid.placeOf.get(photo.number);
  if (row === undefined) return null;
  if (!grid.shown.has(row)) showRow(row);
  return grid.shown.get(row).find((tile) => tile.photo === photo);
}

function focusOn(photo, options) {
  const tile = photo && tileOf(photo);
  if (!tile) return;
  makeCurrent(photo);
  tile.focus({preventScroll: true});
  tile.scrollIntoView({block: 'nearest', ...options});
}

function photoBeside(photo, key) { // by an arrow key, Home or End
  const at = grid.photos.indexOf(photo);
  if (key === 'ArrowLeft') return grid.photos[at - 1];
  if (key === 'ArrowRight') return grid.photos[at + 1];
  if (key === 'Home') return grid.photos[0];
  if (key === 'End') return grid.photos[grid.photos.length - 1];
  const step = key === 'ArrowDown' ? 1 : -1;
  let number = grid.placeOf.get(photo.number);
  const {left, width} = grid.rows[number].tiles.find((tile) => tile.photo === photo);
  do number += step; while (grid.rows[number] && !grid.rows[number].tiles);
  if (!grid.rows[number]) return undefined;
  const distance = (tile) => Math.abs(tile.left + tile.width / 2 - left - width / 2);
  return grid.rows[number].tiles.reduce((a, b) => (distance(b) < distance(a) ? b : a)).photo;
}

function watchGrid() {
  let asked = false;
  const soon = (act) => () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; act(); });
  };
  window.addEventListener('scroll', soon(() => { showRows(); whenScrolled(); }), {passive: true});
  let width = 0;
  new ResizeObserver(() => {
    if (grid.place.clientWidth === width) return;
    width = grid.place.clientWidth;
    layOut();
  }).observe(grid.place);
  for (const [event, act] of [['pointerover', drawBoxes], ['focusin', drawBoxes], ['pointerout', null], ['focusout', null]]) {
    grid.place.addEventListener(event, (happened) => {
      const tile = happened.target.closest('.tile');
      if (!tile || (happened.relatedTarget && tile.contains(happened.relatedTarget))) return;
      const shot = tile.querySelector('.shot');
      removeBoxes(shot);
      if (act && happened.pointerType !== 'touch') act(tile.photo, shot);
    });
  }
  grid.place.addEventListener('keydown', (event) => {
    const tile = event.target.closest('.tile');
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'].includes(event.key)) return;
    event.preventDefault();
    focusOn(photoBeside(tile.photo, event.key));
  });
}
