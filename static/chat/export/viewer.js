/**
 * The script in a session that was saved as a file: themes, folding, and the keyboard. It works wherever the file is opened, and loads
 * nothing.
 */
(() => {
  const root = document.documentElement;
  const THEMES = ["", "light", "dark"];

  /** @returns {HTMLDetailsElement[]} */
  const folds = () => [...document.querySelectorAll("details")];

  /** @param {boolean} isOpen */
  function foldAll(isOpen) {
    for (const each of folds()) each.open = isOpen;
  }

  /** Open all parts that contain the target of the address. */
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const inside = target.querySelector("details");
    if (inside && target.classList.contains("step")) inside.open = true;
    /** @type {Element | null} */
    let around = target;
    while (around) {
      if (around instanceof HTMLDetailsElement) around.open = true;
      around = around.parentElement;
    }
    target.scrollIntoView();
  }

  /** @type {Record<string, () => void>} */
  const acts = {
    theme() {
      const now = THEMES.indexOf(root.dataset.theme ?? "");
      const next = THEMES[(now + 1) % THEMES.length];
      if (next) root.dataset.theme = next;
      else delete root.dataset.theme;
    },
    open: () => foldAll(true),
    fold: () => foldAll(false),
  };

  /**
   * Move to the row after or before the focused one.
   *
   * @param {number} by
   */
  function move(by) {
    const rows = [...document.querySelectorAll("summary")].filter((row) => row.checkVisibility());
    const at = rows.findIndex((row) => row === document.activeElement);
    rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))]?.focus();
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-act]") : null;
    if (button instanceof HTMLElement) acts[button.dataset.act ?? ""]?.();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    const isOnRow = document.activeElement?.matches("summary") ?? false;
    if (!by || (event.key.length > 1 && !isOnRow)) return;
    event.preventDefault();
    move(by);
  });
  window.addEventListener("hashchange", reveal);
  reveal();
})();
