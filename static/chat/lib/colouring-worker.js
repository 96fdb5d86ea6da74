/** Finds the colours of code. Whoever started it ends it when that takes long. */

/** @type {any} */
let library = null;

self.onmessage = async ({ data }) => {
  if (data.library) {
    library = (await import(data.library)).default;
    self.postMessage("ready");
    return;
  }
  const { text, language } = data;
  const html = library.getLanguage(language) ? library.highlight(text, { language, ignoreIllegals: true }).value : null;
  self.postMessage(html);
};
