// Dragino DDS75-LB, DDS45-LB and DDS20-LB, ultrasonic distance. Own decoder, written from reference/domain.md 4.3: fPort 2,
// eight bytes, big-endian: battery (14 bits, mV), distance (mm), interrupt flag, DS18B20 temperature (0.1 Cel), sensor flag.
// Distance 0 (no sensor) and 20 (invalid reading) stay numbers here; the quantities file says what they mean.
// Not decoded: the data log on fPort 3, whose layout we have not seen documented.
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
  if (bytes.length !== 8) {
    return { errors: ["length " + bytes.length + ", expected 8"] };
  }
  function u16(at) { return bytes[at] * 256 + bytes[at + 1]; }
  function s16(at) { return u16(at) < 32768 ? u16(at) : u16(at) - 65536; }
  return {
    data: {
      battery_v: (u16(0) & 0x3fff) / 1000,
      distance_mm: u16(2),
      interrupt: bytes[4],
      temperature_c: s16(5) / 10,
      sensor_flag: bytes[7],
    },
  };
}

// The node's info frame: model, firmware (three nibbles), band, sub-band, battery (mV).
function decodeInfo(bytes) {
  if (bytes.length !== 7) {
    return { errors: ["length " + bytes.length + " on fPort 5, expected 7"] };
  }
  return {
    data: {
      device_model: bytes[0],
      firmware_major: bytes[1] & 15,
      firmware_minor: bytes[2] >> 4,
      firmware_patch: bytes[2] & 15,
      frequency_band: bytes[3],
      sub_band: bytes[4],
      battery_v: (bytes[5] * 256 + bytes[6]) / 1000,
    },
  };
}
