startTheme();
startPrint();
startSorting();
startPicking();
startLayerSearch();
startSplits();
startRadio();
startMemoryBars();

// The section in view is the current one in the header.
const links = new Map(all('.top nav a').map((link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  links.forEach((link, id) => {
    if (id === entry.target.id) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  });
}), { rootMargin: '-20% 0px -70% 0px' });
all('main > section').forEach((section) => watcher.observe(section));

// Anchors replace the view state in the address, so they scroll by hand and keep it.
all('.top nav a').forEach((link) => link.addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById(link.hash.slice(1)).scrollIntoView();
}));

// One sign for tests and printers that everything is drawn.
Promise.all([startCharts(), startExplorers()]).then(() => {
  document.documentElement.dataset.ready = 'true';
});
