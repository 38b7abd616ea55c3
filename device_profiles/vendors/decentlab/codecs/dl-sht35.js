// Decentlab DL-SHT35, air temperature and humidity in a radiation shield. Own decoder, written from the byte layout in
// the vendor's published example (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// temperature (175 Cel over 65535 counts, from -45 Cel), humidity (100 % over 65535 counts) with flag 0; battery (mV) with
// flag 1.
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
  var expected = 5 + (flags & 1 ? 4 : 0) + (flags & 2 ? 2 : 0);
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the sensor flags ask for " + expected] };
  }
  var data = { protocol_version: bytes[0], device_id: u16(1) };
  var at = 5;
  if (flags & 1) {
    data.temperature_c = (175 * u16(at)) / 65535 - 45;
    data.humidity_percent = (100 * u16(at + 2)) / 65535;
    at += 4;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
