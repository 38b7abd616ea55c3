// Buffer as codecs use it: the part of Node's class that reads and writes payloads. ChirpStack gives a codec a Buffer and
// nothing else beyond ECMAScript. Own code, tested against a table of Node's answers (tests/codec/buffer_table.json).
(() => {
  "use strict";
  const HEX = "0123456789abcdef";
  const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const BASE64URL = BASE64.slice(0, 62) + "-_";
  const VALUE_OF = new Map([...BASE64].map((sign, at) => [sign, at]));
  VALUE_OF.set("-", 62).set("_", 63);
  const MOST = 0x7fffffff;
  const CHUNK = 4096; // arguments of one call of String.fromCharCode

  const ENCODINGS = {
    utf8: "utf8", "utf-8": "utf8", hex: "hex", base64: "base64", base64url: "base64url",
    ascii: "ascii", latin1: "latin1", binary: "latin1",
    ucs2: "utf16", "ucs-2": "utf16", utf16le: "utf16", "utf-16le": "utf16",
  };

  function encodingOf(name) {
    if (name === undefined || name === null || name === "") return "utf8";
    const known = ENCODINGS[String(name).toLowerCase()];
    if (known === undefined) throw new TypeError("Unknown encoding: " + name);
    return known;
  }

  function utf8Bytes(text) {
    const out = [];
    for (let at = 0; at < text.length; at++) {
      let point = text.codePointAt(at);
      if (point > 0xffff) at++;
      if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd; // a half of a pair
      if (point < 0x80) out.push(point);
      else if (point < 0x800) out.push(0xc0 | (point >> 6), 0x80 | (point & 63));
      else if (point < 0x10000) out.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
      else {
        out.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
      }
    }
    return out;
  }

  // Each maximal part of a broken sequence becomes one U+FFFD, as the Encoding Standard has it.
  function utf8Text(bytes, start, end) {
    const codes = [];
    for (let at = start; at < end; ) {
      const first = bytes[at++];
      if (first < 0x80) {
        codes.push(first);
        continue;
      }
      const more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2
        : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
      let low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      let high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      let point = more === 1 ? first & 31 : more === 2 ? first & 15 : first & 7;
      let missing = more;
      while (missing > 0 && at < end && bytes[at] >= low && bytes[at] <= high) {
        point = (point << 6) | (bytes[at++] & 63);
        low = 0x80;
        high = 0xbf;
        missing--;
      }
      if (more === 0 || missing > 0) codes.push(0xfffd);
      else if (point < 0x10000) codes.push(point);
      else codes.push(0xd800 + ((point - 0x10000) >> 10), 0xdc00 + ((point - 0x10000) & 1023));
    }
    return textOf(codes);
  }

  function textOf(codes) {
    let text = "";
    for (let at = 0; at < codes.length; at += CHUNK) text += String.fromCharCode(...codes.slice(at, at + CHUNK));
    return text;
  }

  function hexBytes(text) {
    const out = [];
    for (let at = 0; at + 1 < text.length; at += 2) {
      const high = HEX.indexOf(text[at].toLowerCase()), low = HEX.indexOf(text[at + 1].toLowerCase());
      if (high < 0 || low < 0) break;
      out.push(high * 16 + low);
    }
    return out;
  }

  function base64Bytes(text) {
    const out = [];
    let bits = 0, held = 0;
    for (const sign of text) {
      if (sign === "=") break;
      const value = VALUE_OF.get(sign);
      if (value === undefined) continue;
      bits = ((bits << 6) | value) & 0xffff;
      held += 6;
      if (held >= 8) {
        held -= 8;
        out.push((bits >> held) & 255);
      }
    }
    return out;
  }

  function base64Text(bytes, start, end, alphabet, padded) {
    let text = "";
    for (let at = start; at < end; at += 3) {
      const count = Math.min(3, end - at);
      const group = (bytes[at] << 16) | ((count > 1 ? bytes[at + 1] : 0) << 8) | (count > 2 ? bytes[at + 2] : 0);
      for (let sign = 0; sign <= count; sign++) text += alphabet[(group >> (18 - 6 * sign)) & 63];
      if (padded) text += "=".repeat(3 - count);
    }
    return text;
  }

  function bytesOf(text, encoding) {
    switch (encodingOf(encoding)) {
      case "hex": return hexBytes(text);
      case "base64": case "base64url": return base64Bytes(text);
      case "ascii": case "latin1": return Array.from({ length: text.length }, (_, at) => text.charCodeAt(at) & 255);
      case "utf16": {
        const out = [];
        for (let at = 0; at < text.length; at++) out.push(text.charCodeAt(at) & 255, text.charCodeAt(at) >> 8);
        return out;
      }
      default: return utf8Bytes(text);
    }
  }

  function sized(size) {
    if (typeof size !== "number") throw new TypeError('The "size" argument must be of type number');
    if (!(size >= 0 && size <= MOST)) throw new RangeError('The value of "size" is out of range. Received ' + size);
    return Object.setPrototypeOf(new Uint8Array(size), Buffer.prototype);
  }

  function filled(list) {
    const made = sized(list.length);
    for (let at = 0; at < list.length; at++) made[at] = list[at] & 255;
    return made;
  }

  function isBytes(value) {
    return value instanceof Uint8Array;
  }

  function Buffer(value, encodingOrOffset, length) {
    if (typeof value === "number") return sized(value);
    return Buffer.from(value, encodingOrOffset, length);
  }

  Object.setPrototypeOf(Buffer, Uint8Array);
  Buffer.prototype = Object.create(Uint8Array.prototype, {
    constructor: { value: Buffer, writable: true, configurable: true },
  });
  Buffer.poolSize = 8192;

  function define(target, methods) {
    for (const [name, value] of Object.entries(methods)) {
      Object.defineProperty(target, name, { value, writable: true, configurable: true });
    }
  }

  define(Buffer, {
    from(value, encodingOrOffset, length) {
      if (typeof value === "string") return filled(bytesOf(value, encodingOrOffset));
      if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
        return Object.setPrototypeOf(new Uint8Array(value, encodingOrOffset, length), Buffer.prototype);
      }
      if (value !== null && typeof value === "object") {
        const inner = value.valueOf();
        if (inner !== value && inner !== null && inner !== undefined) {
          return Buffer.from(inner, encodingOrOffset, length);
        }
        if (value.type === "Buffer" && Array.isArray(value.data)) return filled(value.data);
        if (typeof value.length === "number") return filled(value);
        if (value.length === undefined && value.buffer instanceof ArrayBuffer) return sized(0);
      }
      throw new TypeError(
        "The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object."
      );
    },
    of(...items) {
      return filled(items);
    },
    alloc(size, fill, encoding) {
      const made = sized(size);
      return fill === undefined || fill === 0 ? made : made.fill(fill, encoding);
    },
    allocUnsafe: (size) => sized(size),
    allocUnsafeSlow: (size) => sized(size),
    isBuffer: (value) => value instanceof Buffer,
    isEncoding: (name) => typeof name === "string" && ENCODINGS[name.toLowerCase()] !== undefined,
    byteLength(value, encoding) {
      if (typeof value === "string") return bytesOf(value, encoding).length;
      if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength;
      throw new TypeError('The "string" argument must be of type string or an instance of Buffer or ArrayBuffer.');
    },
    concat(list, total) {
      if (!Array.isArray(list)) throw new TypeError('The "list" argument must be an instance of Array.');
      const made = sized(total === undefined ? list.reduce((sum, part) => sum + part.length, 0) : total);
      let at = 0;
      for (const part of list) {
        if (!isBytes(part)) throw new TypeError('The "list" argument must hold instances of Buffer or Uint8Array.');
        for (let from = 0; from < part.length && at < made.length; from++) made[at++] = part[from];
      }
      return made;
    },
    compare(left, right) {
      if (!isBytes(left) || !isBytes(right)) throw new TypeError("The arguments must be Buffers or Uint8Arrays.");
      const shared = Math.min(left.length, right.length);
      for (let at = 0; at < shared; at++) if (left[at] !== right[at]) return left[at] < right[at] ? -1 : 1;
      return Math.sign(left.length - right.length);
    },
  });

  // ---- numbers

  function view(bytes) {
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  function place(bytes, offset, size) {
    const at = offset === undefined ? 0 : offset;
    if (typeof at !== "number") throw new TypeError('The "offset" argument must be of type number.');
    if (!Number.isInteger(at)) {
      throw new RangeError('The value of "offset" is out of range. It must be an integer. Received ' + at);
    }
    if (bytes.length < size) throw new RangeError("Attempt to access memory outside buffer bounds");
    if (at < 0 || at + size > bytes.length) {
      const most = bytes.length - size;
      throw new RangeError(
        'The value of "offset" is out of range. It must be >= 0 and <= ' + most + ". Received " + at
      );
    }
    return at;
  }

  function widthOf(size) {
    if (typeof size !== "number") throw new TypeError('The "byteLength" argument must be of type number.');
    if (!(Number.isInteger(size) && size >= 1 && size <= 6)) {
      throw new RangeError('The value of "byteLength" is out of range. It must be >= 1 and <= 6. Received ' + size);
    }
    return size;
  }

  function within(value, low, high) {
    if (value < low || value > high) {
      throw new RangeError(
        'The value of "value" is out of range. It must be >= ' + low + " and <= " + high + ". Received " + value
      );
    }
  }

  function readUnsigned(bytes, offset, size, little) {
    const at = place(bytes, offset, size);
    let value = 0;
    for (let step = 0; step < size; step++) value = value * 256 + bytes[little ? at + size - 1 - step : at + step];
    return value;
  }

  function readSigned(bytes, offset, size, little) {
    const value = readUnsigned(bytes, offset, size, little), half = 2 ** (8 * size - 1);
    return value >= half ? value - 2 * half : value;
  }

  function writeWhole(bytes, value, offset, size, little, signed) {
    const number = +value, half = 2 ** (8 * size - 1);
    within(number, signed ? -half : 0, signed ? half - 1 : 2 * half - 1);
    const at = place(bytes, offset, size);
    let rest = Math.trunc(number) || 0;
    if (rest < 0) rest += 2 * half;
    for (let step = 0; step < size; step++) {
      bytes[little ? at + step : at + size - 1 - step] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    return at + size;
  }

  for (const [letter, signed] of [["UInt", false], ["Int", true]]) {
    const read = signed ? readSigned : readUnsigned;
    const names = signed ? [letter] : [letter, "Uint"];
    for (const name of names) {
      define(Buffer.prototype, {
        ["read" + name + "8"](offset) { return read(this, offset, 1, false); },
        ["write" + name + "8"](value, offset) { return writeWhole(this, value, offset, 1, false, signed); },
      });
      for (const order of ["LE", "BE"]) {
        const little = order === "LE";
        define(Buffer.prototype, {
          ["read" + name + "16" + order](offset) { return read(this, offset, 2, little); },
          ["read" + name + "32" + order](offset) { return read(this, offset, 4, little); },
          ["read" + name + order](offset, size) { return read(this, offset, widthOf(size), little); },
          ["write" + name + "16" + order](value, offset) { return writeWhole(this, value, offset, 2, little, signed); },
          ["write" + name + "32" + order](value, offset) { return writeWhole(this, value, offset, 4, little, signed); },
          ["write" + name + order](value, offset, size) {
            return writeWhole(this, value, offset, widthOf(size), little, signed);
          },
        });
      }
    }
  }

  for (const order of ["LE", "BE"]) {
    const little = order === "LE";
    define(Buffer.prototype, {
      ["readFloat" + order](offset) { return view(this).getFloat32(place(this, offset, 4), little); },
      ["readDouble" + order](offset) { return view(this).getFloat64(place(this, offset, 8), little); },
      ["readBigInt64" + order](offset) { return view(this).getBigInt64(place(this, offset, 8), little); },
      ["readBigUInt64" + order](offset) { return view(this).getBigUint64(place(this, offset, 8), little); },
      ["readBigUint64" + order](offset) { return view(this).getBigUint64(place(this, offset, 8), little); },
      ["writeFloat" + order](value, offset) {
        const at = place(this, offset, 4);
        view(this).setFloat32(at, value, little);
        return at + 4;
      },
      ["writeDouble" + order](value, offset) {
        const at = place(this, offset, 8);
        view(this).setFloat64(at, value, little);
        return at + 8;
      },
      ["writeBigInt64" + order](value, offset) {
        within(value, -(2n ** 63n), 2n ** 63n - 1n);
        const at = place(this, offset, 8);
        view(this).setBigInt64(at, value, little);
        return at + 8;
      },
      ["writeBigUInt64" + order](value, offset) {
        within(value, 0n, 2n ** 64n - 1n);
        const at = place(this, offset, 8);
        view(this).setBigUint64(at, value, little);
        return at + 8;
      },
    });
  }

  // ---- text, parts, comparison

  function bound(value, fallback, length) {
    if (value === undefined) return fallback;
    const at = Math.trunc(+value) || 0;
    return Math.max(0, Math.min(at, length));
  }

  function fromEnd(value, fallback, length) {
    if (value === undefined) return fallback;
    const at = Math.trunc(+value) || 0;
    return at < 0 ? Math.max(0, length + at) : Math.min(at, length);
  }

  function part(bytes, start, end) {
    const from = fromEnd(start, 0, bytes.length), to = fromEnd(end, bytes.length, bytes.length);
    const cut = new Uint8Array(bytes.buffer, bytes.byteOffset + from, Math.max(0, to - from));
    return Object.setPrototypeOf(cut, Buffer.prototype);
  }

  function needleOf(value, encoding) {
    if (typeof value === "string") return bytesOf(value, encoding);
    if (typeof value === "number") return [value & 255];
    if (isBytes(value)) return value;
    throw new TypeError('The "value" argument must be of type number or string or an instance of Buffer or Uint8Array.');
  }

  function found(bytes, needle, at) {
    for (let step = 0; step < needle.length; step++) if (bytes[at + step] !== needle[step]) return false;
    return true;
  }

  function search(bytes, value, offset, encoding, forward) {
    if (typeof offset === "string") return search(bytes, value, undefined, offset, forward);
    const needle = needleOf(value, encoding), last = bytes.length - needle.length;
    let at = offset === undefined || Number.isNaN(+offset) ? (forward ? 0 : last) : Math.trunc(+offset);
    if (at < 0) at += bytes.length;
    if (forward) {
      if (needle.length === 0) return Math.max(0, Math.min(at, bytes.length));
      for (at = Math.max(0, at); at <= last; at++) if (found(bytes, needle, at)) return at;
    } else {
      for (at = Math.min(at, last); at >= 0; at--) if (found(bytes, needle, at)) return at;
    }
    return -1;
  }

  function swap(bytes, size) {
    if (bytes.length % size) throw new RangeError("Buffer size must be a multiple of " + 8 * size + "-bits");
    for (let at = 0; at < bytes.length; at += size) part(bytes, at, at + size).reverse();
    return bytes;
  }

  define(Buffer.prototype, {
    toString(encoding, start, end) {
      const from = bound(start, 0, this.length), to = bound(end, this.length, this.length);
      if (to <= from) return "";
      switch (encodingOf(encoding)) {
        case "hex": {
          let text = "";
          for (let at = from; at < to; at++) text += HEX[this[at] >> 4] + HEX[this[at] & 15];
          return text;
        }
        case "base64": return base64Text(this, from, to, BASE64, true);
        case "base64url": return base64Text(this, from, to, BASE64URL, false);
        case "ascii": return textOf(Array.prototype.slice.call(this, from, to).map((byte) => byte & 127));
        case "latin1": return textOf(Array.prototype.slice.call(this, from, to));
        case "utf16": {
          const codes = [];
          for (let at = from; at + 1 < to; at += 2) codes.push(this[at] | (this[at + 1] << 8));
          return textOf(codes);
        }
        default: return utf8Text(this, from, to);
      }
    },
    toLocaleString(encoding, start, end) {
      return this.toString(encoding, start, end);
    },
    toJSON() {
      return { type: "Buffer", data: Array.prototype.slice.call(this) };
    },
    equals(other) {
      if (!isBytes(other)) throw new TypeError('The "otherBuffer" argument must be an instance of Buffer or Uint8Array.');
      return Buffer.compare(this, other) === 0;
    },
    compare(other, start, end, ownStart, ownEnd) {
      if (!isBytes(other)) throw new TypeError('The "target" argument must be an instance of Buffer or Uint8Array.');
      return Buffer.compare(part(this, ownStart, ownEnd), part(other, start, end));
    },
    slice(start, end) {
      return part(this, start, end);
    },
    subarray(start, end) {
      return part(this, start, end);
    },
    indexOf(value, offset, encoding) {
      return search(this, value, offset, encoding, true);
    },
    lastIndexOf(value, offset, encoding) {
      return search(this, value, offset, encoding, false);
    },
    includes(value, offset, encoding) {
      return search(this, value, offset, encoding, true) !== -1;
    },
    copy(target, targetStart, start, end) {
      const into = bound(targetStart, 0, target.length), from = bound(start, 0, this.length);
      const to = bound(end, this.length, this.length);
      const count = Math.max(0, Math.min(to - from, target.length - into));
      target.set(Uint8Array.prototype.slice.call(new Uint8Array(this.buffer, this.byteOffset + from, count)), into);
      return count;
    },
    fill(value, start, end, encoding) {
      if (typeof start === "string") return this.fill(value, undefined, undefined, start);
      if (typeof end === "string") return this.fill(value, start, undefined, end);
      const from = start === undefined ? 0 : start, to = end === undefined ? this.length : end;
      if (from < 0 || to < 0 || to > this.length) {
        throw new RangeError('The value of "offset" is out of range.');
      }
      const pattern = typeof value === "string" ? (value === "" ? [0] : bytesOf(value, encoding))
        : isBytes(value) ? value : [Number(value) & 255];
      if (pattern.length === 0) throw new TypeError("The argument 'value' is invalid.");
      for (let at = from; at < to; at++) this[at] = pattern[(at - from) % pattern.length];
      return this;
    },
    write(text, offset, length, encoding) {
      if (typeof offset === "string") return this.write(text, 0, undefined, offset);
      if (typeof length === "string") return this.write(text, offset, undefined, length);
      if (typeof text !== "string") throw new TypeError("argument must be a string");
      const at = offset === undefined ? 0 : offset;
      if (at < 0 || at > this.length) throw new RangeError('The value of "offset" is out of range. Received ' + at);
      const room = Math.min(length === undefined ? Infinity : length, this.length - at);
      const kind = encodingOf(encoding);
      let bytes = bytesOf(text, kind).slice(0, room);
      if (kind === "utf8") bytes = whole(bytes, bytesOf(text, kind));
      if (kind === "utf16") bytes = bytes.slice(0, bytes.length & ~1);
      this.set(bytes, at);
      return bytes.length;
    },
    swap16() { return swap(this, 2); },
    swap32() { return swap(this, 4); },
    swap64() { return swap(this, 8); },
  });

  // A character that does not fit is not written in part.
  function whole(cut, all) {
    let end = cut.length;
    while (end > 0 && end < all.length && (all[end] & 0xc0) === 0x80) end--;
    return cut.slice(0, end);
  }

  Object.defineProperty(globalThis, "Buffer", { value: Buffer, writable: true, configurable: true });
})();
