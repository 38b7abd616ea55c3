// Milesight EM310-UDL, ultrasonic distance of bins and tanks. Own decoder, written from the documented channel table
// (vendor README of em310-udl, reference/domain.md 4.3): items of channel, type, value; little-endian.
// position: 0 normal, 1 tilted.
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
    "03 82": { size: 2, read: function (at, data) { data.distance_mm = u16(at); } },
    "04 00": { size: 1, read: function (at, data) { data.position = bytes[at]; } },
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
