// Runs before the first paint: the remembered theme, and a guard for uPlot.
(() => {
  let theme = new URLSearchParams(location.hash.slice(1)).get('theme');
  try {
    theme = theme || localStorage.getItem('hil-report-theme');
  } catch (error) {
    console.info('theme is not remembered here:', error.message);
  }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  // uPlot 1.6.32 formats numbers with navigator.language while it loads; with LANG=C that is
  // "en-US@posix", which Intl refuses (uPlot PR 1054, not released).
  try {
    new Intl.NumberFormat(navigator.language);
  } catch {
    Object.defineProperty(navigator, 'language', { value: 'en-US' });
  }
})();
