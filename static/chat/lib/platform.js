/**
 * Features that browsers offer on secure pages only, each with a fallback, or with the answer that there is none.
 *
 * A page that is opened over plain HTTP, except on this machine, is not secure. Only this file uses these features.
 */

/** A unique name: 32 hexadecimal digits. */
export function newId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Write to the clipboard; returns whether that worked.
 *
 * @param {string|Promise<string>} text what is pasted where only text is taken; a promise, where it has to be fetched first
 * @param {string} [html] what is pasted where more is taken; may be empty
 */
export async function writeClipboard(text, html = "") {
  if (globalThis.navigator.clipboard?.write && globalThis.ClipboardItem) {
    try {
      // The promises are passed on as they are: some browsers only accept a write within the click itself.
      /** @type {(type: string, content: string|Promise<string>) => Promise<Blob>} */
      const blob = (type, content) => Promise.resolve(content).then((whole) => new Blob([whole], { type }));
      const item = { "text/plain": blob("text/plain", text), ...(html ? { "text/html": blob("text/html", html) } : {}) };
      await globalThis.navigator.clipboard.write([new ClipboardItem(item)]);
      return true;
    } catch {
      // Not allowed, or not while the page has no focus: the old way may still work.
    }
  }
  try {
    return copyByCommand(await text, html);
  } catch {
    return false;
  }
}

/**
 * The old way, by a command: it needs a selection, which is restored afterwards.
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
  // Text outside an open dialog cannot be selected.
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

/** Whether the browser may show notifications: `granted`, `denied`, `default` (not asked yet), `insecure` or `unsupported`. */
export function notificationPermission() {
  if (!globalThis.isSecureContext) return "insecure";
  return "Notification" in globalThis ? globalThis.Notification.permission : "unsupported";
}

/** Ask the reader to allow notifications; only after a click. Returns the resulting state. */
export async function requestNotifications() {
  if (notificationPermission() === "default") await globalThis.Notification.requestPermission();
  return notificationPermission();
}

/**
 * Show a notification; null if that is not possible.
 *
 * @param {string} title
 * @param {NotificationOptions} options
 */
export function showNotification(title, options) {
  try {
    return notificationPermission() === "granted" ? new globalThis.Notification(title, options) : null;
  } catch {
    // On phones only service workers can show one.
    return null;
  }
}

/** Whether the browser supports passkeys on this page. */
export function hasPasskeys() {
  return typeof PublicKeyCredential === "function" && "parseRequestOptionsFromJSON" in PublicKeyCredential;
}

/**
 * Ask the browser to create a passkey, or to sign with one; returns the result as JSON. Fails if the user cancels.
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
