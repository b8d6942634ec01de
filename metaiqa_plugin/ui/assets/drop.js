const zone = () => element.querySelector('.drop');
const CHECKPOINT = /\.(safetensors|pth|pt)$/i;

const say = (text) => {
  const hint = element.querySelector('.hint');
  hint.textContent = text || hint.dataset.rest;
};

const post = async (file, more) => {
  const { session, photoMb, checkpointMb } = zone().dataset;
  const limit = (CHECKPOINT.test(file.name) ? checkpointMb : photoMb) * 1e6;
  const query = new URLSearchParams({ name: file.name, size: file.size, more });
  const response = await fetch(`/session/${session}/files?${query}`, {
    method: 'POST',
    body: file.size > limit ? null : file,
  });
  if (!response.ok) throw new Error('this page has ended; reload it');
  return response.json();
};

let queue = Promise.resolve();
const send = async (files) => {
  zone().classList.add('busy');
  try {
    for (let index = 0; index < files.length; index += 1) {
      say(`Taking ${index + 1} of ${files.length}: ${files[index].name}`);
      const { full } = await post(files[index], files.length - index);
      if (full) break;
    }
    say('');
  } catch (error) {
    say(`Stopped: ${error.message}`);
  }
  zone().classList.remove('busy');
  trigger('sent', {});
};
const enqueue = (list) => {
  const files = [...list];
  if (files.length) queue = queue.then(() => send(files));
};

element.addEventListener('change', (event) => {
  enqueue(event.target.files);
  event.target.value = '';
});
for (const name of ['dragover', 'dragleave', 'drop']) {
  element.addEventListener(name, (event) => {
    event.preventDefault();
    zone().classList.toggle('over', name === 'dragover');
  });
}
element.addEventListener('drop', (event) => enqueue(event.dataTransfer.files));
