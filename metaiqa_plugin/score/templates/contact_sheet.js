'use strict';
const at = (id) => document.getElementById(id);
const {metrics, images, failed} = JSON.parse(at('rows').textContent);
const BINS = 50, STEPS = 1000;
const state = {metric: 0, worstFirst: true, threshold: 0};
const ticked = new Set();
// places in images: all in their order, those that pass the filter, and what is drawn of these
let sorted = [], shown = [], drawn = new Map();
// of the grid: cards in a row, and pixels from one row to the next
let columns = 1, pitch = 1000;

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// The range of a metric, widened to the digits that are shown: nothing lies below low.
function scaleOf(known) {
  let [low, high] = known.length ? [known[0], known.at(-1)] : [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const digits = Math.min(12, Math.max(0, Math.ceil(-Math.log10((high - low) / STEPS))));
  const unit = 10 ** digits, middle = known.length ? known[known.length >> 1] : low;
  low = Math.floor(low * unit) / unit;
  high = Math.ceil(high * unit) / unit;
  return {low, high, digits, known, median: Number(middle.toFixed(digits))};
}
const scales = metrics.map((_, metric) => scaleOf(
  Float64Array.from(images.map((image) => image.scores[metric]).filter((score) => score !== null)).sort()));
const scale = () => scales[state.metric];
const lowerBetter = () => metrics[state.metric].lowerBetter;
const share = (value) => (value - scale().low) / (scale().high - scale().low);

function isWorse(score) {
  if (score === null) return false;
  return lowerBetter() ? score > state.threshold : score < state.threshold;
}
const worse = (place) => isWorse(images[place].scores[state.metric]);

function cardOf(place) {
  const image = images[place];
  const picture = image.thumbnail === null
    ? make('span', {className: 'lost', textContent: 'no preview'})
    : make('img', {src: image.thumbnail, alt: '', decoding: 'async'});
  const link = make('a', {href: image.link, target: '_blank', title: image.path, tabIndex: -1}, picture);
  link.setAttribute('aria-label', `Open ${image.path}`);
  const box = make('input', {type: 'checkbox'});
  const name = make('bdi', {className: 'name', textContent: image.name, title: image.path});
  const scores = image.scores.map((score, metric) => make('div', {},
    make('dt', {textContent: metrics[metric].name, title: metrics[metric].name}),
    make('dd', {textContent: score === null ? '–' : score.toFixed(scales[metric].digits)})));
  const size = make('div', {}, make('dt', {textContent: image.size || 'size unknown'}));
  return make('li', {className: 'card', place, box}, link, make('label', {}, box, name), make('dl', {}, ...scores, size));
}

function refresh(card, index) {
  card.box.checked = ticked.has(card.place);
  card.classList.toggle('ticked', card.box.checked);
  card.classList.toggle('worse', at('show').value === 'all' && worse(card.place));
  [...card.querySelectorAll('dl div')].forEach((line, metric) => line.classList.toggle('sorted', metric === state.metric));
  card.setAttribute('aria-posinset', index + 1);
  card.setAttribute('aria-setsize', shown.length);
}

// Only the cards near what is in sight are in the page; padding stands for the others.
function draw() {
  const sheet = at('sheet'), top = sheet.getBoundingClientRect().top, rows = Math.ceil(shown.length / columns);
  const last = Math.min(rows, Math.max(0, Math.ceil((innerHeight - top) / pitch)) + 1);
  const first = Math.min(last, Math.max(0, Math.floor(-top / pitch) - 1));
  const wanted = shown.slice(first * columns, last * columns);
  const before = drawn;
  drawn = new Map(wanted.map((place) => [place, before.get(place) ?? cardOf(place)]));
  for (const [place, card] of before) if (!drawn.has(place)) card.remove();
  wanted.forEach((place, index) => {
    const card = drawn.get(place);
    if (sheet.children[index] !== card) sheet.insertBefore(card, sheet.children[index] ?? null);
    refresh(card, first * columns + index);
  });
  sheet.style.paddingTop = `${first * pitch}px`;
  sheet.style.paddingBottom = `${(rows - last) * pitch}px`;
}

function layOut() {
  draw();
  const style = getComputedStyle(at('sheet')), card = at('sheet').firstElementChild;
  columns = style.gridTemplateColumns.split(' ').length;
  if (card) pitch = card.getBoundingClientRect().height + parseFloat(style.rowGap);
  draw();
}

function order() {
  at('order').textContent = `Order: ${state.worstFirst ? 'worst' : 'best'} first`;
  const sign = state.worstFirst === lowerBetter() ? -1 : 1;
  const keys = Float64Array.from(images, ({scores}) => sign * (scores[state.metric] ?? sign * Infinity));
  sorted = [...images.keys()].sort((one, other) => keys[one] - keys[other] || 0);
}

function histogram() {
  const {low, high, digits, known} = scale(), metric = metrics[state.metric];
  const bins = new Array(BINS).fill(0);
  for (const score of known) bins[Math.min(BINS - 1, Math.floor(share(score) * BINS))] += 1;
  const highest = Math.max(1, ...bins), width = 100 / BINS;
  const bars = bins.map((count, bin) =>
    `M${bin * width + width * 0.05} 100v${-96 * count / highest}h${width * 0.9}v${96 * count / highest}z`);
  for (const path of document.querySelectorAll('.bars')) path.setAttribute('d', bars.join(''));
  at('low').textContent = low.toFixed(digits);
  at('high').textContent = high.toFixed(digits);
  at('reads').textContent = `${metric.name}, ${metric.lowerBetter ? 'lower' : 'higher'} is better`;
  at('histogram').setAttribute('aria-label', `Histogram of ${metric.name}, ${low.toFixed(digits)} to ${high.toFixed(digits)}`);
}

function showThreshold() {
  const place = Math.min(100, Math.max(0, 100 * share(state.threshold)));
  const rect = document.querySelector('#worse-side rect'), line = document.querySelector('#histogram line');
  rect.setAttribute('x', lowerBetter() ? place : 0);
  rect.setAttribute('width', lowerBetter() ? 100 - place : place);
  line.setAttribute('x1', place);
  line.setAttribute('x2', place);
  at('slider').setAttribute('aria-valuetext', state.threshold.toFixed(scale().digits));
  const {known} = scale(), count = known.reduce((sum, score) => sum + isWorse(score), 0);
  at('count').textContent = `${count} of ${known.length} ${lowerBetter() ? 'above' : 'below'}`;
}

function filter() {
  const wanted = at('filter').value.toLowerCase(), show = at('show').value;
  shown = sorted.filter((place) =>
    (show === 'all' || (show === 'ticked' ? ticked.has(place) : worse(place) === (show === 'worse')))
    && (!wanted || images[place].path.toLowerCase().includes(wanted)));
  at('nothing').hidden = shown.length > 0;
  layOut();
}

// In the order of their names; ./ keeps a name from being a formula or an option.
const listed = () => images.filter((image, place) => ticked.has(place) && image.listable)
  .map(({path}) => `${/^[-=+@\t]/.test(path) ? './' : ''}${path}\n`);

function countTicked() {
  const lines = listed(), left = ticked.size - lines.length;
  at('ticked').textContent = `${ticked.size} ticked` + (left ? `, ${left} not in the list: no plain text for the name` : '');
  for (const id of ['copy', 'download']) at(id).disabled = lines.length === 0;
  fillList();
}

function fillList() {
  const text = at('listing').open ? listed().join('') : '';
  if (at('list').value !== text) at('list').value = text;
}

function setThreshold(value) {
  state.threshold = value;
  at('slider').value = Math.round(STEPS * share(value));
  showThreshold();
  filter();
}

function setMetric(metric) {
  state.metric = metric;
  order();
  histogram();
  setThreshold(scale().median);
  at('threshold').value = state.threshold.toFixed(scale().digits);
}

async function copy() {
  const text = listed().join('');
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    at('listing').open = true;
    fillList();
    at('list').select();
    if (!document.execCommand('copy')) {
      at('ticked').textContent = 'the browser refuses to copy: the list is selected below';
      return;
    }
  }
  at('ticked').textContent = 'list copied';
}

function download() {
  const address = URL.createObjectURL(new Blob(listed(), {type: 'text/plain'}));
  make('a', {href: address, download: 'ticked.txt'}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function tickAll(places) {
  ticked.clear();
  for (const place of places) ticked.add(place);
  countTicked();
  filter();
}

function move(event) {
  const card = event.target.closest('.card');
  if (!card) return;
  if (event.key === 'Enter') {
    if (event.target.matches('input')) card.querySelector('a').click();
    return;
  }
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns};
  if (!(event.key in steps)) return;
  event.preventDefault();
  const next = shown.indexOf(card.place) + steps[event.key];
  if (shown[next] === undefined) return;
  if (!drawn.has(shown[next])) {
    scrollBy(0, pitch * Math.sign(steps[event.key]));
    draw();
  }
  drawn.get(shown[next]).box.focus();
}

function listFailed() {
  at('errors').querySelector('ul').replaceChildren(...failed.map((one) => make('li', {},
    make('a', {href: one.link, target: '_blank'}, make('bdi', {textContent: one.path})),
    make('span', {textContent: one.why}))));
}

at('summary').textContent = `${images.length} images scored.`;
at('errors').hidden = failed.length === 0;
at('errors').querySelector('summary').textContent = `${failed.length} not scored`;
at('errors').addEventListener('toggle', listFailed, {once: true});
at('metric').append(...metrics.map((metric, place) => make('option', {value: place, textContent: metric.name})));
at('metric').addEventListener('change', () => setMetric(Number(at('metric').value)));
at('order').addEventListener('click', () => { state.worstFirst = !state.worstFirst; order(); filter(); });
at('show').addEventListener('change', filter);
at('filter').addEventListener('input', filter);
at('slider').addEventListener('input', () => {
  const {low, high, digits} = scale();
  const value = Number((low + (high - low) * at('slider').value / STEPS).toFixed(digits));
  setThreshold(value);
  at('threshold').value = value.toFixed(digits);
});
at('threshold').addEventListener('input', () => {
  if (at('threshold').value !== '') setThreshold(Number(at('threshold').value));
});
at('tick').addEventListener('click', () => tickAll([...ticked, ...shown.filter(worse)]));
at('untick').addEventListener('click', () => tickAll([]));
at('copy').addEventListener('click', copy);
at('download').addEventListener('click', download);
at('listing').addEventListener('toggle', fillList);
at('sheet').addEventListener('change', ({target}) => {
  const card = target.closest('.card');
  ticked[target.checked ? 'add' : 'delete'](card.place);
  card.classList.toggle('ticked', target.checked);
  countTicked();
});
at('sheet').addEventListener('keydown', move);
addEventListener('scroll', draw, {passive: true});
addEventListener('resize', layOut);
// a browser that goes back may have filled in what was typed and ticked
for (const id of ['filter', 'show', 'metric']) at(id).value = {filter: '', show: 'all', metric: 0}[id];
setMetric(0);
countTicked();
