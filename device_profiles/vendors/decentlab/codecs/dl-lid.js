// Decentlab DL-LID, laser distance. Own decoder, written from the byte layout in
// the vendor's published example (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// distance (mm): mean, minimum, maximum, median, percentiles 10, 25, 75, 90, most frequent; number of samples; time of
// acquisition (1/1024 s) with flag 0; battery (mV) with flag 1.
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
  var expected = 5 + (flags & 1 ? 22 : 0) + (flags & 2 ? 2 : 0);
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the sensor flags ask for " + expected] };
  }
  var data = { protocol_version: bytes[0], device_id: u16(1) };
  var at = 5;
  if (flags & 1) {
    data.distance_mean_mm = u16(at);
    data.distance_min_mm = u16(at + 2);
    data.distance_max_mm = u16(at + 4);
    data.distance_median_mm = u16(at + 6);
    data.distance_p10_mm = u16(at + 8);
    data.distance_p25_mm = u16(at + 10);
    data.distance_p75_mm = u16(at + 12);
    data.distance_p90_mm = u16(at + 14);
    data.distance_mode_mm = u16(at + 16);
    data.valid_samples = u16(at + 18);
    data.acquisition_s = u16(at + 20) / 1024;
    at += 22;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
