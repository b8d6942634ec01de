'use strict';
// Sort a table by a column: numbers by size, cells without a value last.
function keyOf(row, column) {
  const key = row.cells[column].dataset.key;
  return key === undefined || key === '' ? null : key;
}
function compareKeys(first, second, sign) {
  if (first === null || second === null) return (first === null) - (second === null);
  const one = Number(first), other = Number(second);
  if (!Number.isNaN(one) && !Number.isNaN(other)) return sign * (one - other);
  return sign * first.localeCompare(second, 'en', {numeric: true});
}
function sortBy(header) {
  const table = header.closest('table'), body = table.tBodies[0];
  const first = header.classList.contains('number') ? 'descending' : 'ascending';
  const next = {none: first, ascending: 'descending', descending: 'ascending'};
  const direction = next[header.getAttribute('aria-sort')];
  for (const other of table.querySelectorAll('[aria-sort]')) other.setAttribute('aria-sort', 'none');
  header.setAttribute('aria-sort', direction);
  const sign = direction === 'ascending' ? 1 : -1, column = header.cellIndex;
  const rows = Array.from(body.rows);
  rows.sort((one, other) => compareKeys(keyOf(one, column), keyOf(other, column), sign));
  body.append(...rows);
}
document.addEventListener('click', (event) => {
  const header = event.target.closest('th[aria-sort]');
  if (header) sortBy(header);
});
