'use strict';
// The viewer: one photo at a time, as large as the window, with what is known of it. The address ends with the photo's
// number, so that the browser's way back closes the viewer.

const viewer = {
  dialog: document.getElementById('viewer'),
  frame: document.querySelector('#viewer .frame'),
  about: document.querySelector('#viewer .about'),
  photo: null,
  withBoxes: false,
  opened: false, // by this page, which then has an entry of its own in the history
};
const SHOWN = /\.(jpe?g|jpe|jfif|mpo|png|apng|webp|gif|avif|bmp|dib)$/i;

function followAddress() {
  const match = /^#photo-(\d+)$/.exec(location.hash);
  const photo = match && photos[match[1] - 1];
  if (photo) view(photo);
  else if (viewer.dialog.open) viewer.dialog.close();
}

function view(photo) {
  viewer.photo = photo;
  const list = listOfViewer(), at = list.indexOf(photo);
  showPlace();
  viewer.about.replaceChildren(...aboutPhoto(photo));
  viewer.about.scrollTop = 0;
  if (!viewer.dialog.open) {
    viewer.dialog.showModal();
    viewer.dialog.focus(); // not its first button, which would be marked
  }
  showPicture(photo);
  for (const beside of [list[at + 1], list[at - 1]]) if (beside && beside.picture) new Image().src = thumbnailOf(beside);
}

function showPlace() {
  const list = listOfViewer(), at = list.indexOf(viewer.photo);
  viewer.dialog.querySelector('[data-go="-1"]').disabled = at <= 0;
  viewer.dialog.querySelector('[data-go="1"]').disabled = at + 1 >= list.length;
  viewer.dialog.querySelector('.place-in-list').textContent = `${(at + 1).toLocaleString('en-GB')} of ${counted(list.length)}`;
}

function listOfViewer() { // a photo that the filters leave out is shown among all
  return grid.photos.includes(viewer.photo) ? grid.photos : photos;
}

function showPicture(photo) {
  const [image, note] = viewer.frame.children;
  removeBoxes(viewer.frame);
  image.hidden = !photo.picture;
  note.hidden = Boolean(photo.picture);
  note.textContent = photo.reason ? photo.reason[0].toUpperCase() + photo.reason.slice(1) + '.' : '';
  viewer.dialog.querySelector('[data-boxes]').hidden = !photo.boxes;
  if (!photo.picture) {
    image.removeAttribute('src');
    Object.assign(viewer.frame.style, {width: '', height: ''});
    return;
  }
  image.src = thumbnailOf(photo);
  image.alt = describe(photo);
  fit();
  const large = photo.large ? head.thumbnails + photo.large : SHOWN.test(photo.path) ? addressOf(photo) : '';
  if (!large) return;
  const whole = new Image();
  whole.src = large;
  whole.decode().then(() => { if (viewer.photo === photo) image.src = large; }, () => { /* the thumbnail stays */ });
}

function fit() { // the largest size at which the photo is whole
  const photo = viewer.photo;
  if (!photo || !photo.picture || !viewer.dialog.open) return;
  const stage = viewer.frame.parentElement, [width, height] = photo.size;
  const around = window.innerWidth < 900 ? 0 : 40;
  const scale = Math.min((stage.clientWidth - around) / width, (stage.clientHeight - around) / height);
  Object.assign(viewer.frame.style, {width: `${width * scale}px`, height: `${height * scale}px`});
  removeBoxes(viewer.frame);
  if (viewer.withBoxes) drawBoxes(photo, viewer.frame);
}

function aboutPhoto(photo) {
  const parts = [];
  if (photo.caption) {
    const by = photo.by === 'human' ? '' : 'Written by myvlm';
    parts.push(element('div', {}, element('p', {className: 'caption', textContent: photo.caption}),
      ...(by ? [element('p', {className: 'soft small', textContent: by})] : [])));
  }
  if (photo.names.length) {
    parts.push(element('div', {className: 'chips'}, ...photo.names.map((n) => makeChip(names[n], () => showOnly(n)))));
  }
  const facts = [
    ['Date', [photo.date, photo.time].filter(Boolean).join(', ')],
    ['Place', [photo.town, photo.place ? photo.place.map((degrees) => degrees.toFixed(4)).join(', ') : ''].filter(Boolean).join(' · ')],
    ['File', [photo.path, ...(photo.also || [])].join(', ')],
    ['Folder', head.folder],
    ['Not captioned', photo.picture ? photo.reason : ''],
  ];
  parts.push(element('dl', {}, ...facts.filter((fact) => fact[1]).map(([title, text]) =>
    element('div', {}, element('dt', {textContent: title}), element('dd', {textContent: text})))));
  if (addressOf(photo)) {
    parts.push(element('a', {className: 'button', href: addressOf(photo), target: '_blank', rel: 'noopener', textContent: 'Open the original'}));
  }
  return parts;
}

function go(step) {
  const list = listOfViewer(), photo = list[list.indexOf(viewer.photo) + step];
  if (!photo) return;
  history.replaceState(null, '', `#photo-${photo.number + 1}`);
  view(photo);
}

function closeViewer() {
  const photo = viewer.photo;
  if (viewer.dialog.open) viewer.dialog.close();
  if (location.hash) {
    if (viewer.opened) history.back();
    else history.replaceState(null, '', location.pathname + location.search);
  }
  viewer.opened = false;
  focusOn(photo, {block: 'nearest'});
}

function showOnly(number) {
  closeViewer();
  choose(number, true);
}

function toggleBoxes() {
  viewer.withBoxes = !viewer.withBoxes;
  viewer.dialog.querySelector('[data-boxes]').setAttribute('aria-pressed', String(viewer.withBoxes));
  fit();
}

function watchViewer() {
  const dialog = viewer.dialog;
  window.addEventListener('hashchange', followAddress);
  window.addEventListener('resize', fit);
  dialog.addEventListener('cancel', (event) => { event.preventDefault(); closeViewer(); });
  dialog.querySelector('[data-close]').addEventListener('click', closeViewer);
  dialog.querySelector('[data-boxes]').addEventListener('click', toggleBoxes);
  for (const button of dialog.querySelectorAll('[data-go]')) button.addEventListener('click', () => go(Number(button.dataset.go)));
  const keys = {ArrowLeft: () => go(-1), ArrowRight: () => go(1), b: toggleBoxes};
  dialog.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  grid.place.addEventListener('click', (event) => {
    const tile = event.target.closest('.tile');
    if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
    grid.current = tile.photo;
    viewer.opened = true; // the link then changes the address, which opens the viewer
  });
  dialog.querySelector('.stage').addEventListener('click', (event) => { if (event.target === event.currentTarget) closeViewer(); });
  watchSwipes(dialog.querySelector('.stage'));
}

function watchSwipes(stage) {
  let start = null;
  stage.addEventListener('touchstart', (event) => {
    const zoomed = window.visualViewport && window.visualViewport.scale > 1.05;
    start = event.touches.length === 1 && !zoomed ? event.touches[0] : null;
  }, {passive: true});
  stage.addEventListener('touchend', (event) => {
    if (!start) return;
    const x = event.changedTouches[0].clientX - start.clientX, y = event.changedTouches[0].clientY - start.clientY;
    start = null;
    if (Math.abs(x) > 48 && Math.abs(x) > 1.5 * Math.abs(y)) go(x < 0 ? 1 : -1);
    else if (y > 96 && y > 1.5 * Math.abs(x)) closeViewer();
  });
}
