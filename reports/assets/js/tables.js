// Sorting, filtering, picking a layer, and the radio switch of the split table.

// What a cell sorts by: its data-s, else the first number of a numeric cell, else its text.
function sortValue(cell) {
  if (cell.dataset.s !== undefined) {
    const value = Number(cell.dataset.s);
    return Number.isNaN(value) ? cell.dataset.s : value;
  }
  const shown = cell.textContent.trim();
  if (cell.classList.contains('w')) return shown.toLowerCase() || null;
  const number = parseFloat(shown.replaceAll(',', '').replace(/^[±+\s]+/, ''));
  return Number.isNaN(number) ? null : number;
}

// Empty cells stay last whichever way; equal ones keep their order.
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
  return sign * String(a).localeCompare(String(b), 'en', { numeric: true });
}

function sortTable(table, column, direction) {
  const body = table.tBodies[0];
  const sign = direction === 'desc' ? -1 : 1;
  const rows = [...body.rows].map((row) => [sortValue(row.cells[column]), row]);
  rows.sort((a, b) => compare(a[0], b[0], sign));
  body.append(...rows.map(([, row]) => row));
  headings(table).forEach((th, i) => {
    if (i === column) th.setAttribute('aria-sort', sign < 0 ? 'descending' : 'ascending');
    else th.removeAttribute('aria-sort');
  });
}

const headings = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];

function startSorting() {
  all('table.sortable').forEach((table) => {
    headings(table).forEach((th, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener('click', () => {
        // Numbers are looked at from the largest, words from A.
        const first = th.classList.contains('w') ? 'asc' : 'desc';
        const now = th.getAttribute('aria-sort');
        const was = now === 'descending' ? 'desc' : 'asc';
        const next = now ? (was === 'asc' ? 'desc' : 'asc') : first;
        state.set('sort', `${table.id}:${column}:${next}`);
      });
    });
  });
  const apply = (value) => {
    if (!value) return;
    const [id, column, direction] = value.split(':');
    const table = document.getElementById(id);
    const place = Number(column);
    const known = table?.matches('table.sortable') && place >= 0
      && place < headings(table).length && ['asc', 'desc'].includes(direction);
    if (known) sortTable(table, place, direction); else ignore('sort', value);
  };
  state.on('sort', apply);
  apply(state.get('sort'));
}

// A layer picked anywhere is marked everywhere; -1 is none.
function startPicking() {
  const table = find('#t-layers');
  if (!table) return;
  const names = new Map();
  all('tbody tr[data-layer]', table).forEach((row) => {
    const head = row.cells[0];
    const layer = row.dataset.layer;
    names.set(layer, row.cells[1].textContent.trim());
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent.trim();
    button.setAttribute('aria-label', `Pick layer ${layer}`);
    button.addEventListener('click', () => pick(layer));
    head.replaceChildren(button);
  });
  const pick = (layer) => state.set('layer', state.get('layer') === layer ? '' : layer);
  const apply = (layer) => {
    const known = names.has(layer);
    if (layer && !known) ignore('layer', layer);
    all('tr[data-layer]').forEach((row) => {
      const on = known && row.dataset.layer === layer;
      if (on) row.setAttribute('aria-selected', 'true'); else row.removeAttribute('aria-selected');
    });
    find('#picked').hidden = !known;
    find('#picked span').textContent = known ? `Layer ${layer}: ${names.get(layer)}` : '';
    setSignal('picked', known ? Number(layer) : -1);
  };
  addEventListener('report-pick', (event) => pick(String(event.detail)));
  find('#picked-clear').addEventListener('click', () => state.set('layer', ''));
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !event.target.closest('input, select')) state.set('layer', '');
  });
  state.on('layer', apply);
  apply(state.get('layer'));
}

function startLayerSearch() {
  const input = find('#find-layer');
  if (!input) return;
  const rows = all('#t-layers tbody tr');
  input.addEventListener('input', () => {
    const wanted = input.value.trim().toLowerCase();
    let hits = 0;
    rows.forEach((row) => {
      const label = [0, 1, 2].map((i) => row.cells[i].textContent.trim().toLowerCase());
      const hit = !wanted || label[0] === wanted || label.slice(1).some((x) => x.includes(wanted));
      row.hidden = !hit;
      hits += hit;
    });
    find('#found-layers').textContent = wanted ? `${hits} of ${rows.length} layers` : '';
  });
}

function startSplits() {
  const table = find('#t-partitions');
  if (!table) return;
  const cells = json('split-cells');
  const rows = [...table.tBodies[0].rows];
  const live = headings(table).flatMap((th, i) => (th.dataset.live ? [i] : []));
  const board = find('#split-board');
  const radio = find('#split-radio');
  const refused = find('#split-refused');

  const fill = (name) => rows.forEach((row, i) => live.forEach((column, k) => {
    // A note is [text, sort value, tone]; a number is its text.
    const value = cells[name][i][k];
    const [shown, sort, tone] = Array.isArray(value) ? (value.length ? value : ['', null, '']) : [value, null, ''];
    const cell = row.cells[column];
    cell.textContent = shown;
    cell.className = `${headings(table)[column].classList.contains('w') ? 'w ' : ''}${tone}`;
    if (sort === null || sort === '') delete cell.dataset.s; else cell.dataset.s = sort;
    cell.removeAttribute('title');
  }));
  const filter = () => {
    let count = 0;
    rows.forEach((row) => {
      const wanted = !board.value || row.dataset.board === board.value;
      row.hidden = !wanted || (row.dataset.refused === '1' && !refused.checked);
      count += !row.hidden;
    });
    find('#split-count').textContent = `${count} rows`;
  };
  const choose = (select, key) => {
    const value = state.get(key);
    const known = [...select.options].some((option) => option.value === value);
    if (value && !known) ignore(key, value);
    select.value = known ? value : select.options[0].value;
  };
  const apply = () => {
    choose(board, 'board');
    choose(radio, 'radio');
    refused.checked = state.get('refused') !== 'no';
    fill(radio.value);
    filter();
  };
  const plain = (select) => (select.selectedIndex ? select.value : '');
  board.addEventListener('change', () => state.set('board', plain(board)));
  radio.addEventListener('change', () => state.set('radio', plain(radio)));
  refused.addEventListener('change', () => state.set('refused', refused.checked ? '' : 'no'));
  find('#split-filter').addEventListener('submit', (event) => event.preventDefault());
  ['board', 'radio', 'refused'].forEach((key) => state.on(key, apply));
  apply();
}

// The radio in the header drives figures; the split table listens to the same state.
function startRadio() {
  const select = find('#radio');
  if (!select) return;
  const apply = () => {
    const value = state.get('radio');
    const known = [...select.options].some((option) => option.value === value);
    select.value = known ? value : select.options[0].value;
    setSignal('radio', select.value);
  };
  select.addEventListener('change', () => state.set('radio', select.selectedIndex ? select.value : ''));
  state.on('radio', apply);
  apply();
}

function startMemoryBars() {
  all('tr[data-fill]').forEach((row) => row.style.setProperty('--fill', row.dataset.fill));
}
