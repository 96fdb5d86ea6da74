/**
 * What browsers give to secure pages alone, each with another way, or with an answer that there is none.
 *
 * A page that is opened over plain HTTP, by a name or an address, is not secure. No other file asks for these parts of the browser.
 */

/** A name that nobody else makes up: 32 hexadecimal digits. */
export function newId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Put something into the clipboard; returns whether it is there.
 *
 * @param {string|Promise<string>} text what is pasted where only text is taken; a promise, where it has to be fetched first
 * @param {string} [html] what is pasted where more is taken; may be empty
 */
export async function writeClipboard(text, html = "") {
  if (globalThis.navigator.clipboard?.write && globalThis.ClipboardItem) {
    try {
      // The promises are handed in as they are: some browsers only take what is asked for in the very click.
      /** @type {(type: string, content: string|Promise<string>) => Promise<Blob>} */
      const blob = (type, content) => Promise.resolve(content).then((whole) => new Blob([whole], { type }));
      const item = { "text/plain": blob("text/plain", text), ...(html ? { "text/html": blob("text/html", html) } : {}) };
      await globalThis.navigator.clipboard.write([new ClipboardItem(item)]);
      return true;
    } catch {
      // Not allowed, or not while the page has no focus: the old way may still do.
    }
  }
  try {
    return copyByCommand(await text, html);
  } catch {
    return false;
  }
}

/**
 * The way from before there was a clipboard for scripts: needs a selection, which is given back.
 *
 * @param {string} text
 * @param {string} html
 */
function copyByCommand(text, html) {
  const focused = /** @type {HTMLElement|null} */ (document.activeElement);
  const selection = document.getSelection();
  const ranges = selection ? Array.from({ length: selection.rangeCount }, (_, index) => selection.getRangeAt(index)) : [];
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.className = "sr";
  // What lies outside an open dialog cannot be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.focus({ preventScroll: true });
  area.select();
  /** @param {ClipboardEvent} event */
  const both = (event) => {
    event.preventDefault();
    event.clipboardData?.setData("text/plain", text);
    if (html) event.clipboardData?.setData("text/html", html);
  };
  document.addEventListener("copy", both, { once: true });
  try {
    return document.execCommand("copy");
  } finally {
    document.removeEventListener("copy", both);
    area.remove();
    if (ranges.length) {
      selection?.removeAllRanges();
      for (const range of ranges) selection?.addRange(range);
    }
    focused?.focus?.({ preventScroll: true });
  }
}

/** Whether the browser may show notifications: `granted`, `denied`, `default` (nobody has said), `insecure` or `unsupported`. */
export function notificationPermission() {
  if (!globalThis.isSecureContext) return "insecure";
  return "Notification" in globalThis ? globalThis.Notification.permission : "unsupported";
}

/** Ask the reader for leave to show notifications; only after a click. Returns what is so then. */
export async function requestNotifications() {
  if (notificationPermission() === "default") await globalThis.Notification.requestPermission();
  return notificationPermission();
}

/**
 * Have the browser show a notification; null where it does not.
 *
 * @param {string} title
 * @param {NotificationOptions} options
 */
export function showNotification(title, options) {
  try {
    return notificationPermission() === "granted" ? new globalThis.Notification(title, options) : null;
  } catch {
    // Phones have it for service workers alone.
    return null;
  }
}

/** Whether the browser knows passkeys, and may ask for them here. */
export function hasPasskeys() {
  return typeof PublicKeyCredential === "function" && "parseRequestOptionsFromJSON" in PublicKeyCredential;
}

/**
 * Have whoever sits before the browser make a passkey, or answer with one; returns the answer as JSON. Fails where that is cancelled.
 *
 * @param {any} publicKey what the server wants to have signed
 * @param {boolean} isNew
 */
export async function askForPasskey(publicKey, isNew) {
  const { credentials } = globalThis.navigator;
  const credential = isNew
    ? await credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
    : await credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  if (!(credential instanceof PublicKeyCredential)) throw new Error("no passkey");
  return JSON.stringify(credential.toJSON());
}
