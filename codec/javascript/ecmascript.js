// Takes away what this engine has beyond what ChirpStack's gives a codec, so that a codec which needs more fails here as it
// does there, and not first in the field.
(() => {
  "use strict";
  for (const name of ["atob", "btoa", "performance", "queueMicrotask", "DOMException"]) delete globalThis[name];
  for (const name of ["fromHex", "fromBase64"]) delete Uint8Array[name];
  for (const name of ["toHex", "toBase64", "setFromHex", "setFromBase64"]) delete Uint8Array.prototype[name];
})();
