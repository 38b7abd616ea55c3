// Milesight UC501 and UC502 controllers: Modbus, SDI-12, 4-20 mA or 0-10 V, counters. Own decoder, written from the
// documented channel table (vendor README of uc50x, reference/domain.md 4.3 and 4.4): channel, type, value; little-endian.
// What a channel measures stands in no frame: the device's map (docs/devices.md) says it. Modbus numbers are unsigned
// or float as declared; the map may read them as signed. Channels that could not be read give modbus_<n>_error.
// 20 dd: the table gives time, mask and 5 bytes a channel; that these are declaration and value, and that mask bit 0 is
// channel 1, is our reading of it (not confirmed on hardware). Not decoded: 20 dc, whose analogue layout no table gives.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (input.fPort !== 85) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 85"] };
  }
  if (bytes.length === 0) {
    return { errors: ["length 0: no channel in the frame"] };
  }
  var warnings = [];
  var TEXT = 36; // bytes of an SDI-12 answer, filled up with NUL
  var FIRST_MODBUS = 6; // channel 1 has the number 7
  var FLOAT_TYPES = [5, 7];
  var items = {
    "01 75": { size: 1, read: function (at, data) { data.battery_percent = bytes[at]; } },
    "ff 01": { size: 1, read: function (at, data) { data.protocol_version = bytes[at]; } },
    "ff 09": { size: 2, read: function (at, data) { version(data, "hardware", at); } },
    "ff 0a": { size: 2, read: function (at, data) { version(data, "firmware", at); } },
    "ff 0b": { size: 1, read: function (at, data) { data.device_status = bytes[at]; } },
    "ff 0f": { size: 1, read: function (at, data) { data.lorawan_class = bytes[at]; } },
    // Eight bytes exceed what a JavaScript number holds exactly: two halves.
    "ff 16": {
      size: 8,
      read: function (at, data) {
        data.serial_high = u32be(at);
        data.serial_low = u32be(at + 4);
      },
    },
    "ff fe": { size: 1, read: function (at, data) { data.reset_event = bytes[at]; } },
    "ff ff": { size: 2, read: function (at, data) { version(data, "tsl", at); } },
    // Input number in the upper four bits; 0 current, 1 voltage in the lower.
    "ff 14": { size: 1, read: function (at, data) { data["adc_" + (bytes[at] >> 4) + "_type"] = bytes[at] & 15; } },
    "ff 15": { size: 1, read: function (at, data) { data["modbus_" + (bytes[at] - FIRST_MODBUS) + "_error"] = 1; } },
  };
  [1, 2].forEach(function (n) {
    var digital = "0" + (n + 2);
    var analogue = "0" + (n + 4);
    items[digital + " 00"] = { size: 1, read: function (at, data) { data["input_" + n] = bytes[at]; } };
    items[digital + " 01"] = { size: 1, read: function (at, data) { data["output_" + n] = bytes[at]; } };
    items[digital + " c8"] = { size: 4, read: function (at, data) { data["counter_" + n] = u32(at); } };
    items["8" + (n + 2) + " c8"] = { size: 5, read: function (at, data) { alarmed(data, "counter_" + n, at, 4, 0); } };
    items["9" + (n + 2) + " c8"] = { size: 9, read: function (at, data) { alarmed(data, "counter_" + n, at, 4, 4); } };
    // Value, minimum, maximum, mean: thousandths up to hardware version 2, half-precision floats from version 3 on.
    items[analogue + " 02"] = {
      size: 8,
      read: function (at, data) { statistics(data, n, at, function (bits) { return bits / 1000; }); },
    };
    items[analogue + " e2"] = { size: 8, read: function (at, data) { statistics(data, n, at, half); } };
    items["8" + (n + 4) + " e2"] = { size: 9, read: function (at, data) { adcAlarm(data, n, at, 8); } };
    items["9" + (n + 4) + " e2"] = { size: 13, read: function (at, data) { adcAlarm(data, n, at, 12); } };
  });

  function u16(at) { return bytes[at] + bytes[at + 1] * 256; }
  function u32(at) { return u16(at) + u16(at + 2) * 65536; }
  function u32be(at) {
    return ((bytes[at] * 256 + bytes[at + 1]) * 256 + bytes[at + 2]) * 256 + bytes[at + 3];
  }
  function version(data, what, at) {
    data[what + "_major"] = bytes[at];
    data[what + "_minor"] = bytes[at + 1];
  }
  function hex(byte) { return (byte < 16 ? "0" : "") + byte.toString(16); }
  function alarmed(data, name, at, size, change) {
    data[name] = u32(at);
    data[name + "_alarm"] = bytes[at + size + change];
  }
  function adcAlarm(data, n, at, skip) {
    statistics(data, n, at, half);
    data["adc_" + n + "_alarm"] = bytes[at + skip];
  }
  function statistics(data, n, at, read) {
    ["", "_min", "_max", "_mean"].forEach(function (which, place) {
      put(data, "adc_" + n + which, read(u16(at + 2 * place)));
    });
  }
  // NaN and Infinity are no measurements; a float that is neither is left out, with a mark.
  function put(data, name, value) {
    if (isFinite(value)) {
      data[name] = value;
    } else {
      data[name + "_error"] = 1;
    }
  }
  // IEEE 754 binary16.
  function half(bits) {
    var sign = bits & 0x8000 ? -1 : 1;
    var exponent = (bits >> 10) & 31;
    var fraction = bits & 1023;
    if (exponent === 31) {
      return fraction ? NaN : sign * Infinity;
    }
    return exponent ? sign * Math.pow(2, exponent - 15) * (1 + fraction / 1024) : sign * Math.pow(2, -24) * fraction;
  }
  // Declaration: register type in bits 0 to 2, number of bytes in bits 3 to 7.
  function declared(at) { return bytes[at] >> 3; }
  function registers(at, size) {
    if (FLOAT_TYPES.indexOf(bytes[at] & 7) >= 0 && size === 4) {
      return new DataView(new Uint8Array(bytes.slice(at + 1, at + 5)).buffer).getFloat32(0, true);
    }
    var value = 0;
    for (var i = size; i > 0; i--) {
      value = value * 256 + bytes[at + i];
    }
    return value;
  }
  function text(at, size) {
    var letters = "";
    for (var i = 0; i < size && bytes[at + i] !== 0; i++) {
      letters += String.fromCharCode(bytes[at + i]);
    }
    return letters.replace(/[\r\n]+$/, "");
  }
  function ones(mask) {
    var channels = [];
    for (var bit = 0; bit < 16; bit++) {
      if (mask & (1 << bit)) {
        channels.push(bit + 1);
      }
    }
    return channels;
  }
  function past(data, at, record) {
    data.history = data.history || [];
    data.history.push({ time: new Date(u32(at) * 1000).toISOString(), data: record });
  }
  // Items whose size stands in themselves; null where the frame ends before that.
  function sized(key, at) {
    if (key === "ff 0e" || key === "80 0e" || key === "90 0e") {
      var extra = key === "ff 0e" ? 0 : key === "80 0e" ? 1 : 5;
      var size = declared(at + 1);
      return {
        size: 2 + size + extra,
        problem: size === 1 || size === 2 || size === 4 ? "" : "a Modbus value of " + size + " bytes, expected 1, 2 or 4",
        read: function (from, data) {
          var name = "modbus_" + (bytes[from] - FIRST_MODBUS);
          put(data, name, registers(from + 1, size));
          if (extra) {
            data[name + "_alarm"] = bytes[from + 1 + size + extra];
          }
        },
      };
    }
    if (key === "08 db") {
      // The table says 36 bytes; an answer may end with the frame.
      var letters = Math.max(0, Math.min(TEXT, bytes.length - at - 1));
      return {
        size: 1 + letters,
        read: function (from, data) {
          if (letters < TEXT) {
            warnings.push("an SDI-12 answer of " + letters + " bytes, " + TEXT + " are usual");
          }
          data["sdi12_" + (bytes[from] + 1)] = text(from + 1, letters);
        },
      };
    }
    if (key === "20 dd" || key === "20 e0") {
      var channels = ones(u16(at + 4));
      var each = key === "20 dd" ? 5 : TEXT;
      return {
        size: 6 + channels.length * each,
        read: function (from, data) {
          var record = {};
          channels.forEach(function (channel, place) {
            var start = from + 6 + place * each;
            if (key === "20 e0") {
              record["sdi12_" + channel] = text(start, TEXT);
            } else {
              put(record, "modbus_" + channel, registers(start, declared(start) === 1 || declared(start) === 2 ? declared(start) : 4));
            }
          });
          past(data, from, record);
        },
      };
    }
    return null;
  }

  var data = {};
  var at = 0;
  while (at < bytes.length) {
    if (at + 2 > bytes.length) {
      return { errors: ["byte " + at + ": the frame ends inside a channel header"] };
    }
    var key = hex(bytes[at]) + " " + hex(bytes[at + 1]);
    var item = items[key] || sized(key, at + 2);
    if (!item) {
      return { errors: ["byte " + at + ": unknown channel " + key] };
    }
    if (!(at + 2 + item.size <= bytes.length)) {
      return { errors: ["byte " + at + ": channel " + key + " needs " + item.size + " bytes, the frame ends"] };
    }
    if (item.problem) {
      return { errors: ["byte " + at + ": " + item.problem] };
    }
    item.read(at + 2, data);
    at += 2 + item.size;
  }
  return warnings.length ? { data: data, warnings: warnings } : { data: data };
}
