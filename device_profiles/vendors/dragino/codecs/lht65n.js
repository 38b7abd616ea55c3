// Dragino LHT65N, air temperature and humidity, optional DS18B20 lead. Own decoder, written from the vendor manual (sections
// 2.4 uplink payload, 2.6.5 data log): fPort 2: battery status (2 bits) and mV (14), temperature (0.01 Cel), humidity (0.1 %),
// kind of external sensor, its value (4 bytes). fPort 3: stored records of 11 bytes: external sensor, temperature, humidity,
// flags, seconds since 1970 UTC. Only external kind 1 (DS18B20, 0.01 Cel) is decoded; others are passed on as bytes.
function decodeUplink(input) {
  if (input.fPort === 5) {
    return decodeInfo(input.bytes);
  }
  if (input.fPort === 3) {
    return decodeLog(input.bytes);
  }
  if (input.fPort !== 2) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 2, 3 or 5"] };
  }
  return decodeMeasurement(input.bytes);
}

var RECORD = 11;

function u16(bytes, at) { return bytes[at] * 256 + bytes[at + 1]; }
function s16(bytes, at) { return u16(bytes, at) < 32768 ? u16(bytes, at) : u16(bytes, at) - 65536; }
function u32(bytes, at) { return u16(bytes, at) * 65536 + u16(bytes, at + 2); }

function decodeMeasurement(bytes) {
  var external = bytes.length > 6 ? bytes[6] & 15 : 0;
  if (bytes.length !== 11 && !(bytes.length === 7 && external === 0)) {
    return { errors: ["length " + bytes.length + ", expected 11, or 7 without an external sensor"] };
  }
  var data = {
    battery_v: (u16(bytes, 0) & 0x3fff) / 1000,
    battery_status: bytes[0] >> 6,
    temperature_c: s16(bytes, 2) / 100,
    humidity_percent: u16(bytes, 4) / 10,
    external_kind: external,
  };
  if (external === 1) {
    data.external_temperature_c = s16(bytes, 7) / 100;
  } else if (bytes.length === 11) {
    data.external_bytes = bytes.slice(7);
  }
  return { data: data };
}

function decodeLog(bytes) {
  if (bytes.length === 0 || bytes.length % RECORD !== 0) {
    return { errors: ["length " + bytes.length + " on fPort 3, expected a multiple of " + RECORD] };
  }
  var history = [];
  for (var at = 0; at < bytes.length; at += RECORD) {
    // A record of zeros says that there is nothing for the time asked.
    if (bytes.slice(at, at + RECORD).some(function (byte) { return byte !== 0; })) {
      history.push(decodeRecord(bytes, at));
    }
  }
  return { data: { history: history } };
}

function decodeRecord(bytes, at) {
  var data = { temperature_c: s16(bytes, at + 2) / 100, humidity_percent: u16(bytes, at + 4) / 10 };
  if ((bytes[at + 6] & 15) === 1) {
    data.external_temperature_c = s16(bytes, at) / 100;
  }
  return { time: new Date(u32(bytes, at + 7) * 1000).toISOString(), data: data };
}

// The node's info frame: model, firmware (three nibbles), band, sub-band, battery (mV).
function decodeInfo(bytes) {
  if (bytes.length !== 7) {
    return { errors: ["length " + bytes.length + " on fPort 5, expected 7"] };
  }
  return {
    data: {
      device_model: bytes[0],
      firmware_major: bytes[1] & 15,
      firmware_minor: bytes[2] >> 4,
      firmware_patch: bytes[2] & 15,
      frequency_band: bytes[3],
      sub_band: bytes[4],
      battery_v: (bytes[5] * 256 + bytes[6]) / 1000,
    },
  };
}
