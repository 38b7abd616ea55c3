// Decentlab DL-TBRG, tipping bucket rain gauge. Own decoder, written from the byte layout in
// the vendor's published example (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// tips since the last frame, length of that time (s), tips in all (lower word, then upper word) with flag 0; battery (mV)
// with flag 1. How much rain one tip is (0.1 or 0.2 mm) stands on the gauge: the device's map says it (docs/devices.md).
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
    data.tips = u16(at);
    data.interval_s = u16(at + 2);
    data.total_tips = u16(at + 4) + u16(at + 6) * 65536;
    at += 8;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
