const rate = (button) => {
  const group = button.parentElement;
  const buttons = [...group.querySelectorAll('button')];
  const given = buttons.filter((one) => one.getAttribute('aria-pressed') === 'true');
  const star = Number(button.dataset.star);
  const stars = given.length === star ? 0 : star;
  for (const one of buttons) {
    one.setAttribute('aria-pressed', String(Number(one.dataset.star) <= stars));
  }
  const key = Number(button.closest('[data-photo]').dataset.photo);
  trigger('rate', { key, stars });
};

element.addEventListener('click', (event) => {
  const star = event.target.closest('[data-star]');
  const shot = event.target.closest('[data-pick]');
  if (star) rate(star);
  if (shot) {
    trigger('pick', { key: Number(shot.dataset.pick) });
    if (window.innerWidth < 720) {
      document.querySelector('#details').scrollIntoView({ behavior: 'smooth' });
    }
  }
});
