// Decentlab DL-OPTOD, optical dissolved oxygen. Own decoder, written from the byte layout in
// reference/domain.md 4.3 and 4.4 (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// status, temperature (0.01 Cel, +32768), saturation (0.01 %, +32768), concentration (0.01 mg/L, +32768), and in ppm
// (0.01, +32768) with flag 0; battery (mV) with flag 1.
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
  var expected = 5 + (flags & 1 ? 10 : 0) + (flags & 2 ? 2 : 0);
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the sensor flags ask for " + expected] };
  }
  var data = { protocol_version: bytes[0], device_id: u16(1) };
  var at = 5;
  if (flags & 1) {
    data.status = u16(at);
    data.temperature_c = (u16(at + 2) - 32768) / 100;
    data.oxygen_saturation_percent = (u16(at + 4) - 32768) / 100;
    data.dissolved_oxygen_mg_l = (u16(at + 6) - 32768) / 100;
    data.dissolved_oxygen_ppm = (u16(at + 8) - 32768) / 100;
    at += 10;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
