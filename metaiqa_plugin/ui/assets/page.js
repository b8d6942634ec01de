'use strict';
const at = (selector) => document.querySelector(selector);
const MEANINGS = ['bad', 'poor', 'fair', 'good', 'excellent'];
const CHECKPOINT = /\.(safetensors|pth|pt)$/i;
const MAPS = {
  quality: ['Quality of each part', 'every part scored by itself'],
  gradient: ['Where the metric looks', 'bright pixels change the score most'],
};
const photos = new Map(), tiles = new Map();
let page, base, state = {}, picked = null, queue = Promise.resolve();

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const bad = (text) => make('p', {className: 'bad', textContent: text});
const bar = (max, value) => make('progress', {max, value});
const count = (number, thing) => `${number} ${thing}${number === 1 ? '' : 's'}`;
const duration = (seconds) => seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
const say = (text) => { at('#hint').textContent = text; };
const rest = () => say(`Up to ${page.max_files} photos of ${page.max_megabytes} MB. They stay on this computer`
  + ' and are deleted from this page when you close it.');

async function ask(path, query = {}, options = {}) {
  const response = await fetch(`${base}/${path}?${new URLSearchParams(query)}`, options);
  if (!response.ok) throw new Error(await response.text());
  return response;
}
const post = (path, query, body) => ask(path, query, {method: 'POST', body});

// Photos and checkpoints, one after the other; those too large are told, not sent.
async function send(files) {
  at('.drop').classList.add('busy');
  try {
    for (let index = 0; index < files.length; index += 1) {
      const file = files[index], limit = CHECKPOINT.test(file.name) ? page.max_checkpoint_megabytes : page.max_megabytes;
      say(`Taking ${index + 1} of ${files.length}: ${file.name}`);
      const query = {name: file.name, size: file.size, more: files.length - index};
      const {full} = await (await post('files', query, file.size > limit * 1e6 ? null : file)).json();
      if (full) break;
    }
    rest();
  } catch (error) {
    say(`Stopped: ${error.message}`);
  }
  at('.drop').classList.remove('busy');
}
const enqueue = (files) => { if (files.length) queue = queue.then(() => send(files)); };

function tileOf(photo) {
  const stars = MEANINGS.map((meaning, index) => make('button', {textContent: '★', title: meaning,
    ariaLabel: `${index + 1} of 5: ${meaning}`, onclick: () => rate(photo.key, index + 1)}));
  const group = make('div', {className: 'stars', role: 'group', ariaLabel: `Your rating of ${photo.name}`}, ...stars);
  const shot = make('button', {className: 'shot', title: 'Show where', ariaLabel: `Show the maps of ${photo.name}`,
    onclick: () => pick(photo.key, true)});
  const score = make('b', {className: 'score'}), name = make('span', {className: 'name', textContent: photo.name, title: photo.name});
  return make('figure', {className: 'tile', shot, score, stars, group}, shot, make('figcaption', {}, score, ' ', name), group);
}

function showTile(photo) {
  if (!tiles.has(photo.key)) tiles.set(photo.key, tileOf(photo));
  const tile = tiles.get(photo.key);
  if (photo.seen && !tile.shot.firstChild) {
    tile.shot.append(make('img', {loading: 'lazy', decoding: 'async', alt: '', src: `${base}/thumbnail/${photo.key}`}));
  }
  tile.group.hidden = !photo.seen;
  tile.score.textContent = photo.score === null ? '…' : photo.score.toFixed(3);
  tile.stars.forEach((star, index) => { star.ariaPressed = String(index < (photo.rating ?? 0)); });
  return tile;
}

function rate(key, given) {
  const photo = photos.get(key), stars = photo.rating === given ? 0 : given;
  showTile(Object.assign(photo, {rating: stars || null}));
  post('rate', {key, stars}).catch((error) => say(error.message));
}

function ordered() {
  const sign = Number(at('#order').value) * (state.lower_better ? -1 : 1);
  return [...photos.values()].sort((one, other) => (one.score === null) - (other.score === null)
    || (one.score === null ? one.key - other.key : sign * (one.score - other.score)) || (one.name < other.name ? -1 : 1));
}

function showSheet(changed) {
  const sheet = at('#sheet'), all = ordered(), failed = all.filter((photo) => photo.error);
  for (const photo of changed) showTile(photo);
  for (const photo of failed) tiles.get(photo.key).remove();
  all.filter((photo) => !photo.error).forEach((photo, index) => {
    const tile = tiles.get(photo.key);
    if (sheet.children[index] !== tile) sheet.insertBefore(tile, sheet.children[index] ?? null);
  });
  at('#empty').hidden = all.length > 0;
  at('.failed').hidden = failed.length === 0;
  at('.failed ul').replaceChildren(...failed.map((photo) =>
    make('li', {}, make('b', {textContent: photo.name}), `: ${photo.error}`)));
  if (at('#table').open) showTable(all);
}

function showTable(all = ordered()) {
  at('#table tbody').replaceChildren(...all.map(({name, score, width, height, error}) => make('tr', {},
    ...[name, score?.toFixed(6) ?? '', width ? `${width}x${height}` : '', error].map((textContent) => make('td', {textContent})))));
}

function showStatus() {
  const {done, total, left, left_out: more} = state, parts = [];
  const scored = [...photos.values()].filter((photo) => photo.score !== null).length;
  if (done < total) {
    parts.push(bar(total, done), ` ${done} of ${total} photos scored${left === null ? '' : `, ${duration(left)} left`}`);
  } else if (total) {
    parts.push(make('p', {textContent: `${count(scored, 'photo')} scored${scored < total ? `, ${total - scored} could not be` : ''};`
      + ` ${state.lower_better ? 'lower' : 'higher'} is better.`}));
  }
  if (more) parts.push(bad(`${more} more left out, the first is ${state.first_left_out}: this page is full (raise the limit with --max-files).`));
  at('#status').replaceChildren(...parts, ...state.notes.map(bad));
  const offered = JSON.stringify([state.metrics, state.metric]), select = at('#metric');
  if (select.dataset.offered === offered) return; // it may be open
  select.dataset.offered = offered;
  select.replaceChildren(...state.metrics.map(([value, shown]) => new Option(shown, value, false, value === state.metric)));
}

async function showMap(photo, name, place) {
  place.replaceChildren(make('p', {className: 'hint', role: 'status', textContent: 'Computing the map…'}));
  try {
    const map = await (await ask(`map/${photo.key}`, {name})).json();
    const [title, meaning] = MAPS[name], [worst, best] = state.lower_better ? ['better', 'worse'] : ['worse', 'better'];
    const scale = make('div', {className: 'scale'}, make('span', {textContent: `${worst} ${map.low.toFixed(2)}`}), make('i'),
      make('span', {textContent: `${map.high.toFixed(2)} ${best}`}));
    place.replaceChildren(make('figcaption', {}, make('b', {textContent: title}), `: ${meaning}`),
      make('img', {src: map.picture, alt: `${title} of ${photo.name}`}), ...(name === 'quality' ? [scale] : []),
      ...(map.shrunk ? [make('p', {className: 'hint', textContent: `Of a copy with a longer side of ${map.shrunk} pixels.`})] : []));
  } catch (error) {
    place.replaceChildren(bad(`No map: ${error.message}`));
  }
}

function pick(key, scroll) {
  const photo = photos.get(key);
  if (!photo || photo.score === null) return;
  picked = {key, score: photo.score};
  const places = Object.keys(MAPS).map((name) => {
    const place = make('figure', {className: 'map'});
    place.append(make('button', {textContent: `Show: ${MAPS[name][0].toLowerCase()}`, onclick: () => showMap(photo, name, place)}));
    return place;
  });
  at('#details').replaceChildren(make('h2', {textContent: photo.name}),
    make('p', {}, make('b', {className: 'score', textContent: photo.score.toFixed(3)}),
      ` by ${new Map(state.metrics).get(state.metric)}, ${photo.width}x${photo.height} pixels`),
    make('figure', {}, make('img', {src: `${base}/photo/${key}`, alt: photo.name})), ...places);
  showMap(photo, 'quality', places[0]);
  if (scroll && innerWidth < 720) at('#details').scrollIntoView({behavior: 'smooth'});
}

function showTaste() {
  const {rated, adaptable, varied, job} = state, missing = page.min_ratings - rated, parts = [];
  if (!adaptable) parts.push(`${state.base} cannot learn from ratings: only networks of MetaIQA do today. Choose the metric metaiqa above, or a checkpoint of that network.`);
  else if (missing > 0) parts.push(bar(page.min_ratings, rated), ` ${rated} rated; rate at least ${count(missing, 'more photo')}.`);
  else parts.push(`${rated} rated${varied ? '. More and varied ratings teach better.' : ', all alike: rate some photos higher or lower.'}`);
  at('#missing').replaceChildren(...parts);
  const busy = job !== null && ['waiting', 'running'].includes(job.state);
  at('#learn').disabled = busy || !adaptable || missing > 0 || !varied;
  at('#cancel').hidden = !busy;
}

function showJob({state: how, step, total, left, error, ...result}) {
  const told = {
    cancelled: ['Cancelled; nothing was changed.'],
    failed: [bad(`It did not work: ${error}`)],
    waiting: ['Waiting until another page has learned its ratings.'],
    running: left === null ? ['Learning…']
      : [bar(total, step), ` Learning: step ${step} of ${total}, about ${duration(left)} left`],
  };
  at('#result').replaceChildren(...(how === 'done' ? learned(result) : told[how]));
}

const row = (cell, ...texts) => make('tr', {}, ...texts.map((textContent) => make(cell, {textContent})));

function learned({names, stars, scores, srocc, chance}) {
  const file = 'my-taste.safetensors';
  const figure = (kind) => kind in srocc ? srocc[kind]?.toFixed(2) ?? 'all scores alike' : 'not measured';
  const each = (kind, place) => scores[kind]?.[place].toFixed(3) ?? '';
  return [
    make('h3', {textContent: 'Done: the photos above are now scored by your metric'}),
    make('p', {}, make('a', {className: 'download', href: `${base}/${file}`, download: file, textContent: `Download ${file}`}), ' and use it from Python:'),
    make('pre', {textContent: `import pyiqa\nmetric = pyiqa.create_metric('metaiqa', pretrained_model_path='${file}')\nprint(metric('photo.jpg').item())`}),
    make('p', {textContent: `or on the command line: metaiqa score PHOTOS --metric ${file}`}),
    make('h3', {textContent: 'Does it order photos as you do?'}),
    make('table', {}, row('th', 'agreement with your stars (SROCC, 1 is the same order)', ''), row('td', 'before learning', figure('before')),
      row('td', 'after learning, on photos left out: each scored by a copy that never saw its rating', figure('left_out')),
      row('td', 'after learning, on the photos it learned from: no measure of quality, it has seen these answers', figure('after'))),
    make('p', {className: 'hint', textContent: `${stars.length} photos are few: scores that have nothing to do with your stars reach up to`
      + ` ±${chance.toFixed(2)} by chance. Compare the first two rows; rate more photos to be surer.`}),
    make('details', {}, make('summary', {textContent: 'Scores of the rated photos'}), make('div', {className: 'scroll'},
      make('table', {}, row('th', 'photo', 'you', 'before', 'left out', 'learned'), make('tbody', {}, ...names.map((name, place) =>
        row('td', name, '★'.repeat(stars[place]), each('before', place), each('left_out', place), each('after', place))))))),
  ];
}

function show({photos: changed, ...now}) {
  const before = state;
  state = now;
  for (const photo of changed) photos.set(photo.key, photo);
  showSheet(changed);
  showStatus();
  showTaste();
  if (now.job && JSON.stringify(now.job) !== JSON.stringify(before.job)) showJob(now.job);
  const score = picked && photos.get(picked.key)?.score;
  if (picked && score !== null && score !== picked.score) pick(picked.key, false);
}

async function start() {
  const response = await fetch('/session', {method: 'POST'});
  if (!response.ok) throw new Error(await response.text());
  page = await response.json();
  base = `/session/${page.token}`;
  addEventListener('pagehide', () => navigator.sendBeacon(`${base}/close`));
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
  const events = new EventSource(`${base}/changes`);
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) say('This page has ended; reload it and drop the photos again.');
  };
  at('.drop input').disabled = false;
  at('#paths').hidden = !page.local;
  at('#table .download').href = `${base}/scores.csv`;
  rest();
}

const asked = (promise) => promise.catch((error) => say(error.message));
at('.drop').addEventListener('change', ({target}) => { enqueue([...target.files]); target.value = ''; });
for (const name of ['dragover', 'dragleave', 'drop']) {
  at('.drop').addEventListener(name, (event) => {
    event.preventDefault();
    at('.drop').classList.toggle('over', name === 'dragover');
    if (name === 'drop') enqueue([...event.dataTransfer.files]);
  });
}
at('#paths').addEventListener('submit', (event) => {
  event.preventDefault();
  say('Looking for photos…');
  asked(post('paths', {path: at('#path').value}).then(rest));
});
at('#metric').addEventListener('change', () => asked(post('metric', {name: at('#metric').value})));
at('#order').addEventListener('change', () => showSheet([]));
at('#table').addEventListener('toggle', () => showTable());
at('#learn').addEventListener('click', () => asked(post('learn', {check: at('#check').checked})));
at('#cancel').addEventListener('click', () => asked(post('cancel')));
asked(start());
