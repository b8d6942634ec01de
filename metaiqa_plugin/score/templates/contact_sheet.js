'use strict';
const at = (id) => document.getElementById(id);
const data = JSON.parse(at('rows').textContent);
const BINS = 50, STEPS = 1000;
const state = {metric: 0, worstFirst: true, threshold: 0};

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// The range of a metric, widened to the digits that are shown: nothing lies below low.
function scaleOf(scores) {
  let low = scores.reduce((lowest, score) => Math.min(lowest, score), Infinity);
  let high = scores.reduce((highest, score) => Math.max(highest, score), -Infinity);
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const digits = Math.min(12, Math.max(0, Math.ceil(-Math.log10((high - low) / STEPS))));
  const unit = 10 ** digits;
  low = Math.floor(low * unit) / unit;
  high = Math.ceil(high * unit) / unit;
  return {low, high, digits};
}
const scales = data.scores.map(scaleOf);
const scale = () => scales[state.metric];
const lowerBetter = () => data.metrics[state.metric].lowerBetter;
const share = (value) => (value - scale().low) / (scale().high - scale().low);

function isWorse(score) {
  if (score === null) return false;
  return lowerBetter() ? score > state.threshold : score < state.threshold;
}

function cardOf(image) {
  const picture = image.jpeg === null
    ? make('span', {className: 'lost', textContent: 'no preview'})
    : make('img', {src: `data:image/jpeg;base64,${image.jpeg}`, alt: '', decoding: 'async'});
  const link = make('a', {href: image.link, target: '_blank', title: image.path, tabIndex: -1}, picture);
  link.setAttribute('aria-label', `Open ${image.path}`);
  const box = make('input', {type: 'checkbox'});
  const name = make('bdi', {className: 'name', textContent: image.name, title: image.path});
  const scores = image.scores.map((score, metric) => make('div', {},
    make('dt', {textContent: data.metrics[metric].name, title: data.metrics[metric].name}),
    make('dd', {textContent: score === null ? '–' : score.toFixed(scales[metric].digits)})));
  const size = make('div', {}, make('dt', {textContent: image.size || 'size unknown'}));
  const element = make('li', {className: 'card'}, link, make('label', {}, box, name), make('dl', {}, ...scores, size));
  return {...image, element, box, link, lines: scores};
}
const cards = data.images.map(cardOf);

function compare(one, other) {
  const [first, second] = [one, other].map((card) => card.scores[state.metric]);
  if (first === null || second === null) return (first === null) - (second === null);
  return state.worstFirst === lowerBetter() ? second - first : first - second;
}

function order() {
  at('order').textContent = `Order: ${state.worstFirst ? 'worst' : 'best'} first`;
  at('sheet').append(...[...cards].sort(compare).map((card) => card.element));
  for (const card of cards) {
    card.lines.forEach((line, metric) => line.classList.toggle('sorted', metric === state.metric));
  }
}

function histogram() {
  const bins = new Array(BINS).fill(0);
  for (const score of data.scores[state.metric]) {
    bins[Math.min(BINS - 1, Math.floor(share(score) * BINS))] += 1;
  }
  const highest = Math.max(1, ...bins), width = 100 / BINS;
  const bars = bins.map((count, bin) =>
    `M${bin * width + width * 0.05} 100v${-96 * count / highest}h${width * 0.9}v${96 * count / highest}z`);
  for (const path of document.querySelectorAll('.bars')) path.setAttribute('d', bars.join(''));
  const {low, high, digits} = scale(), metric = data.metrics[state.metric];
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
  const shown = state.threshold.toFixed(scale().digits);
  at('slider').setAttribute('aria-valuetext', shown);
  const scores = data.scores[state.metric], worse = scores.filter(isWorse).length;
  at('count').textContent = `${worse} of ${scores.length} ${lowerBetter() ? 'above' : 'below'}`;
}

function filter() {
  const wanted = at('filter').value.toLowerCase(), show = at('show').value;
  let visible = 0;
  for (const card of cards) {
    const worse = isWorse(card.scores[state.metric]);
    const passes = show === 'all' || (show === 'ticked' ? card.box.checked : worse === (show === 'worse'));
    const hidden = !passes || !card.path.toLowerCase().includes(wanted);
    card.element.hidden = hidden;
    card.element.classList.toggle('worse', worse && show === 'all');
    visible += !hidden;
  }
  at('nothing').hidden = visible > 0;
}

function listTicked() {
  const ticked = cards.filter((card) => card.box.checked), listed = ticked.filter((card) => card.listable);
  const left = ticked.length - listed.length;
  at('list').value = listed.map((card) => `${card.path}\n`).join('');
  at('ticked').textContent = `${ticked.length} ticked` + (left ? `, ${left} not in the list: no plain text for the name` : '');
  for (const id of ['copy', 'download']) at(id).disabled = listed.length === 0;
}

function setThreshold(value) {
  state.threshold = value;
  at('slider').value = Math.round(STEPS * share(value));
  showThreshold();
  filter();
}

function setMetric(metric) {
  state.metric = metric;
  const {low, high, digits} = scale();
  order();
  histogram();
  setThreshold(lowerBetter() ? high : low);
  at('threshold').value = state.threshold.toFixed(digits);
}

async function copy() {
  const text = at('list').value;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    at('listing').open = true;
    at('list').select();
    if (!document.execCommand('copy')) {
      at('ticked').textContent = 'the browser refuses to copy: the list is selected below';
      return;
    }
  }
  at('ticked').textContent = 'list copied';
}

function download() {
  const address = URL.createObjectURL(new Blob([at('list').value], {type: 'text/plain'}));
  make('a', {href: address, download: 'ticked.txt'}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function tickAll(ticked, chosen) {
  for (const card of cards) if (chosen(card)) card.box.checked = ticked;
  listTicked();
  filter();
}

function move(event) {
  const card = event.target.closest('.card');
  if (!card) return;
  if (event.key === 'Enter') {
    if (event.target.matches('input')) card.querySelector('a').click();
    return;
  }
  const shown = [...at('sheet').children].filter((one) => !one.hidden);
  const columns = shown.filter((one) => one.offsetTop === shown[0].offsetTop).length;
  const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns};
  const next = shown[shown.indexOf(card) + steps[event.key]];
  if (!(event.key in steps)) return;
  event.preventDefault();
  if (next) next.querySelector('input').focus();
}

function summarise() {
  const left = data.total - cards.length, failed = data.failed.length;
  let text = `${data.total} images scored`;
  if (left) text += `. Shown are the ${cards.length} worst and best by ${data.metrics[0].name}; the ${left} between them are counted, not shown`;
  if (failed) text += `. ${failed} not scored, see below`;
  at('summary').textContent = `${text}.`;
  at('errors').hidden = failed === 0;
  at('errors').querySelector('ul').append(...data.failed.map((one) => make('li', {},
    make('a', {href: one.link, target: '_blank'}, make('bdi', {textContent: one.path})),
    make('span', {textContent: one.why}))));
}

at('metric').append(...data.metrics.map((metric, place) => make('option', {value: place, textContent: metric.name})));
at('metric').addEventListener('change', () => setMetric(Number(at('metric').value)));
at('order').addEventListener('click', () => { state.worstFirst = !state.worstFirst; order(); });
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
at('tick').addEventListener('click', () => tickAll(true, (card) => !card.element.hidden && isWorse(card.scores[state.metric])));
at('untick').addEventListener('click', () => tickAll(false, () => true));
at('copy').addEventListener('click', copy);
at('download').addEventListener('click', download);
at('sheet').addEventListener('change', listTicked);
at('sheet').addEventListener('keydown', move);
// a browser that goes back may have filled in what was typed and ticked
for (const id of ['filter', 'show', 'metric']) at(id).value = {filter: '', show: 'all', metric: 0}[id];
summarise();
setMetric(0);
listTicked();
