// Dragino MDS200-LB, microwave radar distance. Own decoder, written from reference/domain.md 4.3 and 4.4: fPort 2, eight
// bytes, big-endian: battery (mV), first and second echo (mm), and a word that the reference does not name, passed on as it
// comes. Which number says "no echo" is not confirmed: the quantities file takes 0 for it.
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
  return {
    data: {
      battery_v: (u16(0) & 0x3fff) / 1000,
      distance_mm: u16(2),
      second_distance_mm: u16(4),
      unnamed: u16(6),
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
