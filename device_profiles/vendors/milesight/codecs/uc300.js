// Milesight UC300 controller: Modbus, 4-20 mA, 0-10 V, PT100, digital inputs. Own decoder, written from the documented
// channel table (vendor README of uc300, reference/domain.md 4.3): items of channel, type, value; little-endian.
// What a channel measures stands in no frame: the device's map (docs/devices.md) says it. A Modbus value is the number
// that its declared type says; a channel that could not be read gives modbus_<n>_error.
// Not decoded, because no table gives its layout: the stored records (20 dc).
function decodeUplink(input) {
  var bytes = input.bytes;
  if (input.fPort !== 85) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 85"] };
  }
  if (bytes.length === 0) {
    return { errors: ["length 0: no channel in the frame"] };
  }
  var FLOAT_TYPES = [5, 7]; // of holding and of input registers
  var items = {
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
    "ff 15": { size: 1, read: function (at, data) { data["modbus_" + (bytes[at] + 1) + "_error"] = 1; } },
  };
  [1, 2, 3, 4].forEach(function (n) {
    items["0" + (n + 2) + " 00"] = { size: 1, read: function (at, data) { data["input_" + n] = bytes[at]; } };
    items["0" + (n + 2) + " c8"] = { size: 4, read: function (at, data) { data["counter_" + n] = u32(at); } };
  });
  [1, 2].forEach(function (n) {
    items["0" + (n + 6) + " 01"] = { size: 1, read: function (at, data) { data["output_" + n] = bytes[at]; } };
    items[hex(n + 8) + " 67"] = { size: 2, read: function (at, data) { data["pt100_" + n + "_c"] = s16(at) / 10; } };
    items[hex(n + 10) + " 02"] = { size: 4, read: function (at, data) { data["adc_" + n + "_ma"] = u32(at) / 100; } };
    items[hex(n + 12) + " 02"] = { size: 4, read: function (at, data) { data["adv_" + n + "_v"] = u32(at) / 100; } };
    // With statistics: value, maximum, minimum, mean as half-precision floats. The table does not say how the PT100's
    // are written: they are passed on as they came.
    items[hex(n + 8) + " e2"] = {
      size: 8,
      read: function (at, data) { data["pt100_" + n + "_raw"] = [u16(at), u16(at + 2), u16(at + 4), u16(at + 6)]; },
    };
    items[hex(n + 10) + " e2"] = { size: 8, read: function (at, data) { statistics(data, "adc_" + n, "_ma", at); } };
    items[hex(n + 12) + " e2"] = { size: 8, read: function (at, data) { statistics(data, "adv_" + n, "_v", at); } };
  });

  function u16(at) { return bytes[at] + bytes[at + 1] * 256; }
  function s16(at) { return u16(at) < 32768 ? u16(at) : u16(at) - 65536; }
  function u32(at) { return u16(at) + u16(at + 2) * 65536; }
  function u32be(at) {
    return ((bytes[at] * 256 + bytes[at + 1]) * 256 + bytes[at + 2]) * 256 + bytes[at + 3];
  }
  function version(data, what, at) {
    data[what + "_major"] = bytes[at];
    data[what + "_minor"] = bytes[at + 1];
  }
  function hex(byte) { return (byte < 16 ? "0" : "") + byte.toString(16); }
  function statistics(data, name, unit, at) {
    ["", "_max", "_min", "_mean"].forEach(function (which, place) {
      put(data, name + which + unit, half(u16(at + 2 * place)));
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
  function integer(at, size) {
    var value = 0;
    for (var i = size - 1; i >= 0; i--) {
      value = value * 256 + bytes[at + i];
    }
    return value;
  }
  // ff 19: channel, size, type (bit 7: signed), value.
  function modbus(at, data) {
    var name = "modbus_" + (bytes[at] + 1);
    var size = bytes[at + 1];
    var type = bytes[at + 2] & 127;
    if (FLOAT_TYPES.indexOf(type) >= 0 && size === 4) {
      put(data, name, new DataView(new Uint8Array(bytes.slice(at + 3, at + 7)).buffer).getFloat32(0, true));
      return;
    }
    var value = integer(at + 3, size);
    var limit = Math.pow(2, 8 * size);
    data[name] = bytes[at + 2] & 128 && value >= limit / 2 ? value - limit : value;
  }

  var data = {};
  var at = 0;
  while (at < bytes.length) {
    if (at + 2 > bytes.length) {
      return { errors: ["byte " + at + ": the frame ends inside a channel header"] };
    }
    var key = hex(bytes[at]) + " " + hex(bytes[at + 1]);
    var item = items[key];
    if (key === "ff 19") {
      var size = bytes[at + 3];
      if (size !== 1 && size !== 2 && size !== 4) {
        return { errors: ["byte " + at + ": a Modbus value of " + size + " bytes, expected 1, 2 or 4"] };
      }
      item = { size: 3 + size, read: modbus };
    }
    if (!item) {
      return { errors: ["byte " + at + ": unknown channel " + key] };
    }
    if (at + 2 + item.size > bytes.length) {
      return { errors: ["byte " + at + ": channel " + key + " needs " + item.size + " bytes, the frame ends"] };
    }
    item.read(at + 2, data);
    at += 2 + item.size;
  }
  return { data: data };
}
