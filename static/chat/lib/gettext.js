/**
 * Translations of the scripts' sentences. The scripts contain English; a page in another language loads that language's catalogue, a module
 * of static/chat/locale, before its own scripts.
 *
 * Sentences name their values: "%(n)s new". `make messages` finds them in the scripts, so they are written out where they are used.
 */

/** @type {Record<string, string | string[]>} */
let messages = {};
/** @type {(number: number) => number} */
let pluralForm = () => 0;

/**
 * Set the translations. Called once, by the catalogue, before any sentence is used.
 * @param {Record<string, string | string[]>} translated by the English sentence; where it depends on a number, its forms
 * @param {(number: number) => number} formOf which of the forms a number takes
 */
export function setCatalogue(translated, formOf) {
  messages = translated;
  pluralForm = formOf;
}

/**
 * Replace the names in a text by their values; "%%" is a per cent sign. Names without a value stay.
 * @param {string} text
 * @param {Record<string, unknown>} values
 */
export function interpolate(text, values) {
  return text.replace(/%(?:\((\w+)\)[sd]|%)/gu, (found, name) => {
    if (name === undefined) return "%";
    return Object.hasOwn(values, name) ? String(values[name]) : found;
  });
}

/** @param {string} key */
function lookUp(key) {
  return Object.hasOwn(messages, key) ? messages[key] : undefined;
}

/**
 * A sentence in the reader's language.
 * @param {string} text in English
 * @param {Record<string, unknown>} values
 */
export function gettext(text, values = {}) {
  return interpolate(String(lookUp(text) ?? text), values);
}

/**
 * The same for a text that has different meanings in different contexts.
 * @param {string} context which of them
 * @param {string} text in English
 * @param {Record<string, unknown>} values
 */
export function pgettext(context, text, values = {}) {
  return interpolate(String(lookUp(`${context}\u0004${text}`) ?? text), values);
}

/**
 * A sentence that depends on a number, which it contains as "%(n)d".
 * @param {string} one
 * @param {string} many
 * @param {number} number
 * @param {Record<string, unknown>} values
 */
export function ngettext(one, many, number, values = {}) {
  const forms = lookUp(one);
  const text = Array.isArray(forms) ? forms[pluralForm(number)] : undefined;
  return interpolate(text ?? (number === 1 ? one : many), { n: number, ...values });
}

/**
 * The parts of a sentence from the server; a value may be such a sentence itself.
 * @typedef {{ template?: string, values?: Record<string, unknown>, message?: string }} Parts
 */

/**
 * An error's message in the reader's language if it has a template, else as it came.
 * @param {Parts} error
 * @returns {string}
 */
export function errorText(error) {
  const { template, values = {}, message = "" } = error;
  if (!template) return message;
  const parts = Object.entries(values).map(([name, value]) => [name, isParts(value) ? errorText(value) : value]);
  return interpolate(String(lookUp(template) ?? template), Object.fromEntries(parts));
}

/**
 * @param {unknown} value
 * @returns {value is Parts}
 */
function isParts(value) {
  return typeof value === "object" && value !== null && "template" in value;
}
