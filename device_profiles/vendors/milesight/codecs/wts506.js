// Milesight WTS506 weather station (the WTS505 is the same without rain). Own decoder, written from the documented
// channel table (vendor README of wts506; WTS series user guide, section 5.2): channel, type, value; little-endian.
// rainfall_total_mm counts up within a phase; rainfall_phase is the frame number within it, 0 after clearing.
function decodeUplink(input) {
  var bytes = input.bytes;
  if (input.fPort !== 85) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 85"] };
  }
  if (bytes.length === 0) {
    return { errors: ["length 0: no channel in the frame"] };
  }
  var items = {
    "01 75": { size: 1, read: function (at, data) { data.battery_percent = bytes[at]; } },
    "03 67": { size: 2, read: function (at, data) { data.temperature_c = s16(at) / 10; } },
    "04 68": { size: 1, read: function (at, data) { data.humidity_percent = bytes[at] / 2; } },
    "05 84": { size: 2, read: function (at, data) { data.wind_direction_deg = u16(at) / 10; } },
    "06 73": { size: 2, read: function (at, data) { data.pressure_hpa = u16(at) / 10; } },
    "07 92": { size: 2, read: function (at, data) { data.wind_speed_m_s = u16(at) / 10; } },
    "08 77": { size: 3, read: function (at, data) { rain(data, u16(at), bytes[at + 2]); } },
    "08 ec": { size: 5, read: function (at, data) { rain(data, u32(at), bytes[at + 4]); } },
    "83 67": {
      size: 3,
      read: function (at, data) {
        data.alarm_temperature_c = s16(at) / 10;
        data.alarm_temperature_status = bytes[at + 2];
      },
    },
    "86 73": {
      size: 3,
      read: function (at, data) {
        data.alarm_pressure_hpa = u16(at) / 10;
        data.alarm_pressure_status = bytes[at + 2];
      },
    },
    "87 92": {
      size: 3,
      read: function (at, data) {
        data.alarm_wind_speed_m_s = u16(at) / 10;
        data.alarm_wind_speed_status = bytes[at + 2];
      },
    },
    "88 ec": {
      size: 6,
      read: function (at, data) {
        data.alarm_rainfall_total_mm = u32(at) / 100;
        data.rainfall_phase = bytes[at + 4];
        data.alarm_rainfall_status = bytes[at + 5];
      },
    },
    "20 ce": { size: 15, read: function (at, data) { past(data, at, weather(at + 4, u16(at + 13))); } },
    "21 ce": { size: 17, read: function (at, data) { past(data, at, weather(at + 4, u32(at + 13))); } },
    "ff 01": { size: 1, read: function (at, data) { data.protocol_version = bytes[at]; } },
    "ff 09": { size: 2, read: function (at, data) { version(data, "hardware", at); } },
    "ff 0a": { size: 2, read: function (at, data) { version(data, "firmware", at); } },
    "ff 0b": { size: 1, read: function (at, data) { data.device_status = bytes[at]; } },
    "ff 0f": { size: 1, read: function (at, data) { data.lorawan_class = bytes[at]; } },
    // Eight bytes exceed what a JavaScript number holds exactly: two halves.
    "ff 16": {
      size: 8,
      read: function (at, data) {
        data.serial_high = u32be(at);
        data.serial_low = u32be(at + 4);
      },
    },
    "ff fe": { size: 1, read: function (at, data) { data.reset_event = bytes[at]; } },
    "ff ff": { size: 2, read: function (at, data) { version(data, "tsl", at); } },
  };

  function u16(at) { return bytes[at] + bytes[at + 1] * 256; }
  function u32be(at) {
    return ((bytes[at] * 256 + bytes[at + 1]) * 256 + bytes[at + 2]) * 256 + bytes[at + 3];
  }
  function s16(at) { return u16(at) < 32768 ? u16(at) : u16(at) - 65536; }
  function u32(at) { return u16(at) + u16(at + 2) * 65536; }
  // A stored record: under `history` with the device's own time, never beside the live value.
  function past(data, at, record) {
    data.history = data.history || [];
    data.history.push({ time: new Date(u32(at) * 1000).toISOString(), data: record });
  }
  function rain(data, hundredths, phase) {
    data.rainfall_total_mm = hundredths / 100;
    data.rainfall_phase = phase;
  }
  function weather(at, hundredths) {
    return {
      temperature_c: s16(at) / 10,
      humidity_percent: bytes[at + 2] / 2,
      pressure_hpa: u16(at + 3) / 10,
      wind_direction_deg: u16(at + 5) / 10,
      wind_speed_m_s: u16(at + 7) / 10,
      rainfall_total_mm: hundredths / 100,
    };
  }
  function version(data, what, at) {
    data[what + "_major"] = bytes[at];
    data[what + "_minor"] = bytes[at + 1];
  }
  function hex(byte) { return (byte < 16 ? "0" : "") + byte.toString(16); }

  var data = {};
  var at = 0;
  while (at < bytes.length) {
    if (at + 2 > bytes.length) {
      return { errors: ["byte " + at + ": the frame ends inside a channel header"] };
    }
    var key = hex(bytes[at]) + " " + hex(bytes[at + 1]);
    var item = items[key];
    if (!item) {
      return { errors: ["byte " + at + ": unknown channel " + key] };
    }
    if (at + 2 + item.size > bytes.length) {
      return { errors: ["byte " + at + ": channel " + key + " needs " + item.size + " bytes, the frame ends"] };
    }
    item.read(at + 2, data);
    at += 2 + item.size;
  }
  return { data: data };
}
