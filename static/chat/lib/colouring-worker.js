/** Colours code. The page terminates this worker if it takes long. */

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
