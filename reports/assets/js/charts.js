// Vega-Lite specs of the page, drawn as SVG in the page's own colours.
const views = [];
const signals = {};

const CHART_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const CHART_CONFIG = {
  background: 'transparent',
  font: CHART_FONT,
  // One text alternative a chart (its aria-label), and the table behind it: not one a mark.
  aria: false,
  view: { stroke: null },
  axis: {
    labelColor: 'var(--ink-2)', titleColor: 'var(--ink-2)', gridColor: 'var(--grid)',
    domainColor: 'var(--line)', tickColor: 'var(--line)', labelFontSize: 11, titleFontSize: 11,
    titleFontWeight: 500, titlePadding: 6,
  },
  axisX: { grid: false },
  legend: {
    labelColor: 'var(--ink)', titleColor: 'var(--ink-2)', labelFontSize: 12, symbolStrokeWidth: 2,
    labelLimit: 260, padding: 0, offset: 8,
  },
  rule: { color: 'var(--ink)' },
  text: { color: 'var(--ink)', fontSize: 12 },
  rect: { color: 'var(--accent)' },
  point: { color: 'var(--accent)' },
};

// Signals are the specs' own params ("picked", "radio"); a chart without one is left alone.
const listens = (spec, name) => (spec.params ?? []).some((param) => param.name === name);

function setSignal(name, value) {
  signals[name] = value;
  views.filter(({ spec }) => listens(spec, name))
    .forEach(({ view }) => view.signal(name, value).runAsync());
}

// Rows of objects again, from the columns that reports/charts.py wrote.
function rowsOf({ rows, columns }) {
  const read = Object.entries(columns).map(([name, column]) => [
    name, column.words ? (i) => column.words[column.at[i]] : (i) => column[i],
  ]);
  return Array.from({ length: rows }, (_, i) => Object.fromEntries(read.map(([name, at]) => [name, at(i)])));
}

const expand = (spec) => ({
  ...spec,
  datasets: Object.fromEntries(Object.entries(spec.datasets).map(([name, data]) => [name, rowsOf(data)])),
});

async function drawChart(box, spec) {
  const label = box.getAttribute('aria-label');
  try {
    const options = { renderer: 'svg', actions: false, ast: true, config: CHART_CONFIG };
    const { view } = await vegaEmbed(box, spec, options);
    // Vega calls every chart "Vega visualization"; the sentence above it says more.
    box.setAttribute('role', 'img');
    box.setAttribute('aria-label', label);
    box.removeAttribute('aria-roledescription');
    views.push({ view, spec });
    Object.entries(signals).forEach(([name, value]) => {
      if (listens(spec, name)) view.signal(name, value);
    });
    await view.runAsync();
    if (listens(spec, 'picked')) {
      view.addEventListener('click', (event, item) => {
        if (item?.datum?.layer !== undefined) {
          dispatchEvent(new CustomEvent('report-pick', { detail: item.datum.layer }));
        }
      });
    }
  } catch (error) {
    console.error(`chart ${box.dataset.spec}:`, error);
    box.textContent = `This chart could not be drawn (${error.message}); its table has the numbers.`;
    box.classList.add('failed');
  }
}

// The chart library lies deflated in the page; a script element runs it.
async function loadLibrary() {
  const script = document.createElement('script');
  script.textContent = new TextDecoder().decode(await inflate(find('#chart-library').textContent));
  document.head.append(script);
}

async function startCharts() {
  await loadLibrary();
  const specs = json('specs');
  await Promise.all(all('[data-spec]').map((box) => drawChart(box, expand(specs[box.dataset.spec]))));
}
