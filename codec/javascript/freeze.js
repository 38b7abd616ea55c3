// Freezes every built-in object and the global one, so that no frame can leave anything behind for the next.
(() => {
  "use strict";
  // Accessors with a state of the realm behind them.
  Object.defineProperty(Error, "stackTraceLimit", { value: 10 });
  Object.defineProperty(Error, "prepareStackTrace", { value: undefined });
  const syntaxOnly = [
    function () {}, () => {}, function* () {}, async function () {}, async function* () {},
    [][Symbol.iterator](), new Map().entries(), new Set().entries(), ""[Symbol.iterator](), "".matchAll(/x/g),
    (function* () {})(), (async function* () {})(), /x/, new Date(0), new Error(), Object(1n), Object(Symbol.iterator),
    Iterator.from({ next() { return { done: true }; } }), [].values().map((item) => item), new Proxy({}, {}),
  ];
  const known = new Set(), waiting = [globalThis, ...syntaxOnly.map(Object.getPrototypeOf)];
  for (let at = 0; at < waiting.length; at++) {
    const one = waiting[at];
    if (one === null || (typeof one !== "object" && typeof one !== "function") || known.has(one)) continue;
    known.add(one);
    waiting.push(Object.getPrototypeOf(one));
    for (const key of Reflect.ownKeys(one)) {
      const { value, get, set } = Object.getOwnPropertyDescriptor(one, key);
      waiting.push(value, get, set);
    }
  }
  for (const one of known) Object.freeze(one);
})();
