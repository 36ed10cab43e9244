// The waveform explorer: a min/max band on uPlot, marked windows, marker line, zoom by drag,
// wheel-free (a page must scroll), buttons and keys.
const GAP_CODE = 0xFFFF;
const MARKER_HEIGHT = 8;

// base64 -> zlib -> four byte planes -> low and high in ampere (see reports/decimate.py).
async function decodeBand(wave) {
  const planes = await inflate(wave.band);
  const n = wave.buckets;
  const edge = (first) => {
    const values = new Array(n);
    for (let i = 0; i < n; i += 1) {
      const code = planes[first + i] | (planes[first + n + i] << 8);
      values[i] = code === GAP_CODE ? null : (wave.offset + code * wave.step) * 1e3;
    }
    return values;
  };
  return { low: edge(0), high: edge(2 * n) };
}

const css = (name) => {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
};
const withAlpha = (colour, alpha) => `color-mix(in srgb, ${colour} ${100 * alpha}%, transparent)`;

function palette() {
  const names = ['ink', 'ink-2', 'grid', 'line', 'accent', 'part-compute', 'part-copy', 'warn'];
  return Object.fromEntries(names.map((name) => [name, css(`--${name}`)]));
}

const windowLabel = ([layer, name]) => (layer < 0 ? 'whole network' : `${layer} ${name}`);

class Explorer {
  constructor(figure, wave, band) {
    this.figure = figure;
    this.key = figure.dataset.wave;
    this.wave = wave;
    this.end = wave.start + wave.samples / wave.rate;
    this.colours = palette();
    this.box = find('.wave', figure);
    this.read = find('.wave-read', figure);
    const dt = wave.perBucket / wave.rate;
    const times = Array.from({ length: wave.buckets }, (_, i) => wave.start + (i + 0.5) * dt);
    this.data = [times, band.high, band.low];
    this.plot = new uPlot(this.options(), this.data, this.box);
    this.controls();
    this.restore();
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  options() {
    const stroke = (name) => () => this.colours[name];
    const axis = { stroke: stroke('ink-2'), grid: { stroke: stroke('grid') }, ticks: { stroke: stroke('line') } };
    const line = { stroke: stroke('accent'), width: 1, points: { show: false }, spanGaps: false };
    return {
      width: this.box.clientWidth,
      height: 300,
      scales: { x: { time: false }, y: { range: (u, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.12] } },
      series: [{}, { label: 'largest', ...line }, { label: 'smallest', ...line }],
      bands: [{ series: [1, 2], fill: () => withAlpha(this.colours.accent, 0.35) }],
      axes: [{ ...axis, label: 'time (s)', labelSize: 18, size: 40 }, { ...axis, label: 'current (mA)', labelSize: 18, size: 52 }],
      cursor: { drag: { x: true, y: false, setScale: true }, points: { show: false } },
      legend: { show: false },
      hooks: {
        drawClear: [(u) => this.drawWindows(u)],
        draw: [(u) => { this.drawMarker(u); this.drawNames(u); }],
        setCursor: [(u) => this.tell(u)],
        setScale: [(u, scale) => { if (scale === 'x') this.remember(u); }],
      },
    };
  }

  // Calls draw(window, i, left, right) for every window in view, clipped to the plot.
  eachWindow(u, draw) {
    const { ctx, bbox } = u;
    const edge = bbox.left + bbox.width;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.wave.windows.forEach((window, i) => {
      const left = u.valToPos(window[2], 'x', true);
      const right = u.valToPos(window[3], 'x', true);
      if (right >= bbox.left && left <= edge) draw(window, i, Math.max(left, bbox.left), Math.min(right, edge));
    });
    ctx.restore();
  }

  // Windows behind the band: alternating shades, the picked layer's in its own.
  drawWindows(u) {
    const { ctx, bbox } = u;
    const picked = state.get('layer');
    const { 'ink-2': grey, 'part-copy': strong } = this.colours;
    this.eachWindow(u, (window, i, left, right) => {
      const on = picked !== '' && String(window[0]) === picked;
      ctx.fillStyle = on ? withAlpha(strong, 0.45) : withAlpha(grey, i % 2 ? 0.07 : 0.16);
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    });
  }

  // Names over the band: in full where there is room, else the number, else nothing.
  drawNames(u) {
    const { ctx, bbox } = u;
    const pad = 5 * devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textBaseline = 'top';
    ctx.textAlign = 'left';
    ctx.fillStyle = this.colours.ink;
    let free = -Infinity;
    this.eachWindow(u, (window, i, left, right) => {
      const full = windowLabel(window);
      const fits = ctx.measureText(full).width + 2 * pad < right - left;
      const label = fits ? full : (window[0] < 0 ? 'all' : String(window[0]));
      const width = ctx.measureText(label).width;
      const start = fits ? left + pad : (left + right - width) / 2;
      if (start < free || width > right - left + pad) return;
      ctx.fillText(label, start, bbox.top + pad);
      free = start + width + pad;
    });
    ctx.restore();
  }

  // The marker pin as the meter saw it, along the bottom.
  drawMarker(u) {
    const { ctx, bbox } = u;
    const { level, edges } = this.wave.marker;
    const height = MARKER_HEIGHT * devicePixelRatio;
    const base = bbox.top + bbox.height - 1;
    const x = (sample) => Math.min(bbox.left + bbox.width, Math.max(bbox.left,
      u.valToPos(this.wave.start + sample / this.wave.rate, 'x', true)));
    ctx.save();
    ctx.strokeStyle = this.colours.warn;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    let high = level;
    ctx.moveTo(x(0), high ? base - height : base);
    edges.forEach((edge) => {
      ctx.lineTo(x(edge), high ? base - height : base);
      high = !high;
      ctx.lineTo(x(edge), high ? base - height : base);
    });
    ctx.lineTo(x(this.wave.samples), high ? base - height : base);
    ctx.stroke();
    ctx.restore();
  }

  tell(u) {
    const i = u.cursor.idx;
    if (i === null || i === undefined) { this.read.textContent = '\u00a0'; return; }
    const time = this.data[0][i];
    const [low, high] = [this.data[2][i], this.data[1][i]];
    const current = low === null ? 'sample missing'
      : `${low.toFixed(2)} to ${high.toFixed(2)} mA, at most ${(high * this.wave.supply).toFixed(1)} mW`;
    const inside = this.wave.windows.find(([, , start, end]) => time >= start && time < end);
    this.read.textContent = `${time.toFixed(5)} s   ${current}${inside ? `   ${windowLabel(inside)}` : ''}`;
  }

  get range() { return [this.plot.scales.x.min, this.plot.scales.x.max]; }

  show(min, max) {
    const width = Math.min(this.end - this.wave.start, Math.max(4 * this.wave.perBucket / this.wave.rate, max - min));
    const start = Math.min(Math.max(this.wave.start, (min + max - width) / 2), this.end - width);
    this.plot.setScale('x', { min: start, max: start + width });
  }

  act(name) {
    const [min, max] = this.range;
    const width = max - min;
    const moves = {
      in: [min + width / 4, max - width / 4], out: [min - width / 2, max + width / 2],
      left: [min - width / 3, max - width / 3], right: [min + width / 3, max + width / 3],
      all: [this.wave.start, this.end],
    };
    this.show(...moves[name]);
  }

  showWindow(i) {
    const [, , start, end] = this.wave.windows[i];
    const margin = (end - start) * 0.4;
    this.show(start - margin, end + margin);
  }

  // Where the picked layer was measured first; false without such a window.
  showLayer(layer) {
    const i = this.wave.windows.findIndex((window) => String(window[0]) === layer);
    if (i >= 0) this.showWindow(i);
    return i >= 0;
  }

  controls() {
    const select = find('.wave-window', this.figure);
    this.wave.windows.forEach((window, i) => select.add(new Option(windowLabel(window), String(i))));
    select.addEventListener('change', () => {
      if (select.value === '') this.act('all'); else this.showWindow(Number(select.value));
    });
    all('[data-act]', this.figure).forEach((button) => {
      button.addEventListener('click', () => this.act(button.dataset.act));
    });
    const keys = { '+': 'in', '=': 'in', '-': 'out', ArrowLeft: 'left', ArrowRight: 'right', 0: 'all' };
    this.box.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      this.act(keys[event.key]);
    });
    addEventListener('report-theme', () => { this.colours = palette(); this.plot.redraw(false); });
    state.on('layer', () => this.plot.redraw(false));
  }

  remember(u) {
    const { min, max } = u.scales.x;
    // uPlot's first scale comes before the constructor has returned.
    if (!this.plot || min === undefined) return;
    const whole = min <= this.data[0][0] && max >= this.data[0].at(-1);
    clearTimeout(this.pending);
    this.pending = setTimeout(() => {
      state.set(`wave.${this.key}`, whole ? '' : `${min.toFixed(6)}_${max.toFixed(6)}`);
    }, 200);
  }

  restore() {
    const value = state.get(`wave.${this.key}`);
    if (!value) return;
    const [min, max] = value.split('_').map(Number);
    if (min < max && max > this.wave.start && min < this.end) this.show(min, max);
    else ignore(`wave.${this.key}`, value);
  }

  resize() {
    const width = this.box.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: 300 });
  }
}

async function startExplorers() {
  const waves = json('waves') ?? {};
  const explorers = [];
  for (const figure of all('figure.explorer')) {
    const wave = waves[figure.dataset.wave];
    try {
      explorers.push(new Explorer(figure, wave, await decodeBand(wave)));
    } catch (error) {
      console.error(`waveform ${figure.dataset.wave}:`, error);
      find('.wave', figure).textContent = `The waveform could not be drawn (${error.message}); the table below has its windows.`;
    }
  }
  const button = find('#picked-wave');
  button.hidden = !explorers.length;
  button.addEventListener('click', () => {
    const shown = explorers.filter((explorer) => explorer.showLayer(state.get('layer')));
    if (shown.length) shown[0].figure.scrollIntoView({ block: 'center' });
  });
}
