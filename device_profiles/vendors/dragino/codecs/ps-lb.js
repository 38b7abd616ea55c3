// Dragino PS-LB, pressure and depth by a 4-20 mA or 0-30 V probe. Own decoder, written from reference/domain.md 4.3: fPort 2,
// nine bytes, big-endian: battery (mV), probe type and range (one byte each), current (uA), voltage (mV), pin states.
// Probe type 0 is an immersed probe, its range in metres: depth = (mA - 4) * range / 16. A current below 4 mA stays what it
// is, so that a broken loop can be told from an empty channel; the quantities file says which currents are a fault.
// Other probe types give current and voltage only; a map of the device (docs/devices.md) says what they measure.
// Not decoded: the data log on fPort 3 and the multi-sample frame on fPort 7.
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
  if (bytes.length !== 9) {
    return { errors: ["length " + bytes.length + ", expected 9"] };
  }
  function u16(at) { return bytes[at] * 256 + bytes[at + 1]; }
  var data = {
    battery_v: (u16(0) & 0x3fff) / 1000,
    probe_type: bytes[2],
    probe_range: bytes[3],
    current_ma: u16(4) / 1000,
    voltage_v: u16(6) / 1000,
    pins: bytes[8],
  };
  if (data.probe_type === 0 && data.probe_range > 0) {
    data.depth_cm = ((u16(4) - 4000) * data.probe_range) / 160;
  }
  return { data: data };
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
