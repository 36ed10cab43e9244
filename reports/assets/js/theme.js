// System, light, dark. The SVG charts follow the CSS variables by themselves.
const THEMES = ['system', 'light', 'dark'];

function startTheme() {
  const button = find('#theme');
  const show = () => {
    const theme = document.documentElement.dataset.theme ?? 'system';
    button.textContent = `Theme: ${theme}`;
    button.setAttribute('aria-label', `Colour theme: ${theme}`);
  };
  const apply = (theme) => {
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    show();
    dispatchEvent(new Event('report-theme'));
  };
  button.addEventListener('click', () => {
    const theme = document.documentElement.dataset.theme ?? 'system';
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      if (next === 'system') localStorage.removeItem('hil-report-theme');
      else localStorage.setItem('hil-report-theme', next);
    } catch (error) {
      console.info('theme is not remembered here:', error.message);
    }
    apply(next);
    if (state.get('theme')) state.set('theme', next === 'system' ? '' : next);
  });
  state.on('theme', (theme) => {
    if (['', ...THEMES].includes(theme)) apply(theme || 'system'); else ignore('theme', theme);
  });
  matchMedia('(prefers-color-scheme: dark)')
    .addEventListener('change', () => dispatchEvent(new Event('report-theme')));
  show();
}

// Paper is white: light while printing, every table open, then back as it was.
function startPrint() {
  let closed = [];
  let theme;
  addEventListener('beforeprint', () => {
    closed = all('details:not([open])');
    closed.forEach((details) => { details.open = true; });
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = 'light';
    dispatchEvent(new Event('report-theme'));
  });
  addEventListener('afterprint', () => {
    closed.forEach((details) => { details.open = false; });
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    dispatchEvent(new Event('report-theme'));
  });
}
