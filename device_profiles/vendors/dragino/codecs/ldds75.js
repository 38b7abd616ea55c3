// Dragino LDDS75, ultrasonic distance. Own decoder, written from reference/domain.md 4.3: fPort 2, eight bytes,
// big-endian: battery (14 bits, mV), distance (mm), interrupt flag, DS18B20 temperature (0.1 Cel), sensor flag.
// Distance 0 (no sensor) and 20 (invalid reading) stay numbers here; the quantities file says what they mean.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (input.fPort !== 2) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 2"] };
  }
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
