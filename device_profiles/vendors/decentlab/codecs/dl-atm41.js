// Decentlab DL-ATM41, weather station with eleven parameters. Own decoder, written from the byte layout in
// the vendor's published example (protocol version 2), big-endian: version, device id (2), flags (2), then words:
// all +32768: solar radiation (W/m2), precipitation (1/1000 mm), lightning strikes and their distance (km), wind speed
// (1/100 m/s), direction (0.1 deg), gust (1/100 m/s), air temperature (0.1 Cel), vapour pressure and air pressure
// (1/100 kPa), humidity (0.1 %), temperature of the sensor (0.1 Cel), tilt x and y (0.1 deg), compass (deg), wind from
// north and from east (1/100 m/s) with flag 0; battery (mV) with flag 1.
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
  var expected = 5 + (flags & 1 ? 34 : 0) + (flags & 2 ? 2 : 0);
  if (bytes.length !== expected) {
    return { errors: ["length " + bytes.length + ", the sensor flags ask for " + expected] };
  }
  var data = { protocol_version: bytes[0], device_id: u16(1) };
  var at = 5;
  if (flags & 1) {
    data.solar_radiation_w_m2 = u16(at) - 32768;
    data.rainfall_mm = (u16(at + 2) - 32768) / 1000;
    data.lightning_strikes = u16(at + 4) - 32768;
    data.lightning_distance_km = u16(at + 6) - 32768;
    data.wind_speed_m_s = (u16(at + 8) - 32768) / 100;
    data.wind_direction_deg = (u16(at + 10) - 32768) / 10;
    data.wind_gust_m_s = (u16(at + 12) - 32768) / 100;
    data.temperature_c = (u16(at + 14) - 32768) / 10;
    data.vapour_pressure_kpa = (u16(at + 16) - 32768) / 100;
    data.pressure_kpa = (u16(at + 18) - 32768) / 100;
    data.humidity_percent = (u16(at + 20) - 32768) / 10;
    data.sensor_temperature_c = (u16(at + 22) - 32768) / 10;
    data.tilt_x_deg = (u16(at + 24) - 32768) / 10;
    data.tilt_y_deg = (u16(at + 26) - 32768) / 10;
    data.compass_deg = u16(at + 28) - 32768;
    data.wind_north_m_s = (u16(at + 30) - 32768) / 100;
    data.wind_east_m_s = (u16(at + 32) - 32768) / 100;
    at += 34;
  }
  if (flags & 2) {
    data.battery_v = u16(at) / 1000;
  }
  return { data: data };
}
