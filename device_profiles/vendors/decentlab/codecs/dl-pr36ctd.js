// Decentlab DL-PR36CTD, pressure, temperature, conductivity. Own decoder, written from the byte layout in
// reference/domain.md 4.3 and 4.4 (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// pressure (+32768), temperature of the electronics and of the PT1000 (1/256 Cel, +32768), conductivity (+32768) with
// flag 0; battery (mV) with flag 1. Counts per bar (kp) and per mS/cm (kec) stand on the probe, not in the frame:
// the device's map turns counts into bar and mS/cm (docs/devices.md).
function decodeUplink(input) {
  var bytes = input.bytes;
  // Decentlab devices ship with fPort 1 (to be confirmed on hardware: the reference names no port).
  if (input.fPort !== 1) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 1"] };
  }
  if (bytes.length < 5) {
    return { errors: ["length " + bytes.length + ": shorter than the header of 5 bytes"] };
  }
  if (bytes[0] !== 2) {
    return { errors: ["protocol version " + bytes[0] + ", expected 2"] };
  }
  function u16(at) { return bytes[at] * 256 + bytes[at + 1]; }
  var flags = u16(3);
  if (flags & ~3) {
    return { errors: ["unknown sensor flags " + flags] };
  }
  var expected = 5 + (flags & 1 ? 8 : 0) + (flags & 2 ? 2 : 0);
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the sensor flags ask for " + expected] };
  }
  var data = { protocol_version: bytes[0], device_id: u16(1) };
  var at = 5;
  if (flags & 1) {
    data.pressure_counts = u16(at) - 32768;
    data.electronics_temperature_c = (u16(at + 2) - 32768) / 256;
    data.temperature_c = (u16(at + 4) - 32768) / 256;
    data.ec_counts = u16(at + 6) - 32768;
    at += 8;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
