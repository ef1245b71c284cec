'use strict';
/* A photo of the review page enlarged, with what there is to compare; step(by) goes on to another one. */
function pressChoice(root, choice) {
  for (const button of page.all('[data-choice]', root)) {
    button.setAttribute('aria-pressed', String(button.dataset.choice === choice));
  }
}

function makeLook(step) {
  const {one} = page;
  const look = one('#look');
  const source = (number) => page.data.served ? 'picture/' + number
    : (one('img[data-picture="' + number + '"][src]') || {src: page.data.pictures[number]}).src;
  function figure(number, label, colour) {
    const box = document.createElement('div');
    box.className = 'picture ' + colour;
    const image = document.createElement('img');
    image.alt = label;
    image.src = source(number);
    const text = document.createElement('span');
    text.className = 'label';
    text.textContent = label;
    box.append(image, text);
    return box;
  }
  function fill(card, concept, choice, words) {
    const colour = [...card.closest('.group').classList].find((c) => c.startsWith('colour-'));
    const old = one('.look-photo .note', look);
    if (old) old.remove();
    const image = one('#look-image');
    const missing = one('.whole .note', card);
    image.hidden = false;
    if (missing) page.note(image, missing.textContent); else image.src = source(card.dataset.enlarged);
    const title = one('.concept', look);
    title.textContent = concept;
    title.className = 'concept ' + colour;
    one('.name', look).textContent = one('.name', card).textContent;
    one('.place', look).textContent = one('.place', card).textContent;
    one('.path', look).textContent = one('.name', card).title;
    one('.sure', look).textContent = [one('.sure', card), one('.also', card)].map((line) => line ? line.textContent : '').join(' ');
    const known = (card.dataset.known ? card.dataset.known.split(' ') : []).filter((k) => source(k));
    one('.look-known', look).replaceChildren(...known.map((k) => figure(k, concept, colour)));
    const text = one('.verdict-text', look);
    text.textContent = words;
    text.className = 'verdict-text ' + choice;
    const problem = one('.problem', look);
    problem.textContent = one('.problem', card).textContent;
    problem.hidden = !problem.textContent;
    pressChoice(look, choice);
  }
  let began = null; // where a finger began to swipe
  one('.look-photo').addEventListener('pointerdown', (event) => { began = event.clientX; });
  one('.look-photo').addEventListener('pointerup', (event) => {
    const by = began === null ? 0 : event.clientX - began;
    began = null;
    if (Math.abs(by) > 50) step(by < 0 ? 1 : -1);
  });
  return {look, fill, source};
}
