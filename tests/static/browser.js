/** The parts of a browser that the scripts use, for tests without one. */

/** A storage. */
export function memory({ full = false } = {}) {
  const kept = new Map();
  return {
    kept,
    full,
    get length() {
      return kept.size;
    },
    key: (index) => [...kept.keys()][index] ?? null,
    getItem: (key) => kept.get(key) ?? null,
    setItem(key, value) {
      if (this.full) throw new Error("full");
      kept.set(key, value);
    },
    removeItem: (key) => kept.delete(key),
  };
}

/** The tabs of a browser, which notify each other: `join` gives each its channel, `wake` suspends all that are not named. */
export function tabs() {
  const joined = new Set();
  return () => {
    const listeners = [];
    const channel = {
      isAsleep: false,
      addEventListener: (_, listener) => listeners.push(listener),
      postMessage(data) {
        for (const other of joined) if (other !== channel && !other.isAsleep) for (const listener of other.listeners) listener({ data });
      },
      listeners,
      leave: () => joined.delete(channel),
    };
    joined.add(channel);
    return channel;
  };
}
