// SenseCAP S2120, weather station with eight parameters. Own decoder, written from the vendor's user guide (section 10.2
// and its examples): frames of an id byte and fixed fields, big-endian, one after the other in a payload.
// 01 weather, 02 wind direction, rain, pressure, 03 battery, 04 device, 05 intervals, 06 error.
// The guide names no fPort; the newer frames (4a to 4e) are not decoded, we have not seen them documented.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (bytes.length === 0) {
    return { errors: ["length 0: no frame in the payload"] };
  }
  var frames = {
    1: {
      size: 10,
      read: function (at, data) {
        data.temperature_c = s16(at) / 10;
        data.humidity_percent = bytes[at + 2];
        data.illuminance_lx = u32(at + 3);
        data.uv_index = bytes[at + 7] / 10;
        data.wind_speed_m_s = u16(at + 8) / 10;
      },
    },
    2: {
      size: 8,
      read: function (at, data) {
        data.wind_direction_deg = u16(at);
        data.rainfall_rate_mm_h = u32(at + 2) / 1000;
        data.pressure_hpa = u16(at + 6) / 10; // the word counts 10 Pa
      },
    },
    3: { size: 1, read: function (at, data) { data.battery_percent = bytes[at]; } },
    4: {
      size: 9,
      read: function (at, data) {
        data.battery_percent = bytes[at];
        data.hardware_version = u16(at + 1);
        data.software_version = u16(at + 3);
        intervals(data, at + 5);
      },
    },
    5: { size: 4, read: function (at, data) { intervals(data, at); } },
    6: { size: 1, read: function (at, data) { data.error_code = bytes[at]; } },
  };

  function u16(at) { return bytes[at] * 256 + bytes[at + 1]; }
  function s16(at) { return u16(at) < 32768 ? u16(at) : u16(at) - 65536; }
  function u32(at) { return u16(at) * 65536 + u16(at + 2); }
  function intervals(data, at) {
    data.interval_min = u16(at);
    data.gps_interval_min = u16(at + 2);
  }

  var data = {};
  var at = 0;
  while (at < bytes.length) {
    var frame = frames[bytes[at]];
    if (!frame) {
      return { errors: ["byte " + at + ": unknown frame " + bytes[at]] };
    }
    if (at + 1 + frame.size > bytes.length) {
      return { errors: ["byte " + at + ": frame " + bytes[at] + " needs " + frame.size + " bytes, the payload ends"] };
    }
    frame.read(at + 1, data);
    at += 1 + frame.size;
  }
  return { data: data };
}
