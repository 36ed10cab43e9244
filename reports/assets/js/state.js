// The view lives in the address: #layer=12&radio=BLE&sort=t-layers:4:desc. Plain anchors
// (#layers) keep working, because a hash without "=" is left alone.
const state = (() => {
  const listeners = [];
  const read = (hash) => (hash.includes('=') ? new URLSearchParams(hash.slice(1)) : new URLSearchParams());
  let now = read(location.hash);

  const tell = (keys) => listeners.forEach(([key, listen]) => {
    if (keys.has(key)) listen(now.get(key) ?? '');
  });

  addEventListener('hashchange', () => {
    if (location.hash && !location.hash.includes('=')) return;
    const before = now;
    now = read(location.hash);
    const keys = new Set([...before.keys(), ...now.keys()]);
    tell(new Set([...keys].filter((key) => before.get(key) !== now.get(key))));
  });

  return {
    get: (key) => now.get(key) ?? '',
    // Empty values are dropped. History is replaced, so Back leaves the report.
    set(key, value) {
      if ((now.get(key) ?? '') === value) return;
      if (value) now.set(key, value); else now.delete(key);
      const hash = now.toString();
      history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
      tell(new Set([key]));
    },
    on(key, listen) { listeners.push([key, listen]); },
  };
})();

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const json = (id) => JSON.parse(document.getElementById(id)?.textContent ?? 'null');
// A value of the address that means nothing here is named on the console and ignored.
const ignore = (key, value) => console.info(`ignored ${key}=${value} in the address`);

// base64 of zlib data -> bytes.
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
