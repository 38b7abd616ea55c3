// Dragino WQS-LB water quality node, payload layout of firmware 1.2. Own decoder, written from reference/domain.md 4.4.
// fPort 2, big-endian: battery (14 bits, mV), DS18B20 temperature (0.1 Cel), probe flags in byte 4,
// then the flagged probes in the order of PROBES.
// DO, EC and pH each bring the temperature of their probe.
// The three layouts cannot be told apart by a header; the flags fix the exact length, and any other length is refused.
// fPort 5 is the info frame (model 0x3c); it tells which of the three layouts the device speaks.

// bit: flag; fields: [name, bytes, divisor, signed, factor if not 1]
var PROBES = [
  { bit: 0x20, fields: [["turbidity_ntu", 2, 10, false]] },
  { bit: 0x10, fields: [["dissolved_oxygen_mg_l", 2, 100, false], ["dissolved_oxygen_temperature_c", 2, 100, true]] },
  { bit: 0x08, fields: [["orp_mv", 2, 1, true]] },
  { bit: 0x04, fields: [["ec_k10_us_cm", 2, 1, false, 10], ["ec_k10_temperature_c", 2, 10, true]] },
  { bit: 0x02, fields: [["ec_k1_us_cm", 2, 1, false], ["ec_k1_temperature_c", 2, 10, true]] },
  { bit: 0x01, fields: [["ph", 2, 100, false], ["ph_temperature_c", 2, 10, true]] },
];

function decodeUplink(input) {
  if (input.fPort === 5) {
    return decodeInfo(input.bytes);
  }
  if (input.fPort !== 2) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 2 or 5"] };
  }
  return decodeMeasurement(input.bytes);
}

function decodeMeasurement(bytes) {
  if (bytes.length < 5) {
    return { errors: ["length " + bytes.length + ": shorter than the header of 5 bytes"] };
  }
  var flags = bytes[4] & 0x3f; // bits 6 and 7 are not probes
  var expected = 5;
  PROBES.forEach(function (probe) {
    if (flags & probe.bit) {
      probe.fields.forEach(function (field) { expected += field[1]; });
    }
  });
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the probe flags ask for " + expected + ": other firmware?"] };
  }
  var data = { battery_v: (integer(bytes, 0, 2, false) & 0x3fff) / 1000, ds18b20_c: integer(bytes, 2, 2, true) / 10 };
  var at = 5;
  PROBES.forEach(function (probe) {
    if (flags & probe.bit) {
      probe.fields.forEach(function (field) {
        data[field[0]] = (integer(bytes, at, field[1], field[3]) * (field[4] || 1)) / field[2];
        at += field[1];
      });
    }
  });
  return { data: data };
}

function integer(bytes, at, size, signed) {
  var value = 0;
  for (var i = 0; i < size; i++) {
    value = value * 256 + bytes[at + i];
  }
  return signed && bytes[at] > 127 ? value - Math.pow(256, size) : value;
}

function decodeInfo(bytes) {
  if (bytes.length !== 7) {
    return { errors: ["length " + bytes.length + " on fPort 5, expected 7"] };
  }
  if (bytes[0] !== 0x3c) {
    return { errors: ["model " + bytes[0] + " on fPort 5, expected 60 (WQS-LB)"] };
  }
  var data = {
    device_model: bytes[0],
    firmware_major: bytes[1] & 15,
    firmware_minor: bytes[2] >> 4,
    firmware_patch: bytes[2] & 15,
    frequency_band: bytes[3],
    sub_band: bytes[4],
    battery_v: integer(bytes, 5, 2, false) / 1000,
  };
  var name = [data.firmware_major, data.firmware_minor, data.firmware_patch].join(".");
  var version = data.firmware_major * 100 + data.firmware_minor * 10 + data.firmware_patch;
  if (version < 120 || version >= 131) {
    return { data: data, warnings: ["device firmware " + name + " does not use the layout of 1.2"] };
  }
  return { data: data };
}
