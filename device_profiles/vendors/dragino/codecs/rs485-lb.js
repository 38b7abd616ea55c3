// Dragino RS485-LB, bridge from RS-485 (Modbus RTU) to LoRaWAN. Own decoder, written from reference/domain.md 4.3 and the
// vendor manual (uplink payload, AT+PAYVER, AT+DATACUT): fPort 2: battery (15 bits, mV; bit 15 interrupt), payload version,
// then what the installer had cut from the answers. Nothing in the frame says what that is: the map of the device
// (docs/devices.md) does. `payload` are those bytes; `payload_text` is there where all are printable, as SDI-12 answers are.
function decodeUplink(input) {
  if (input.fPort === 5) {
    return decodeInfo(input.bytes);
  }
  if (input.fPort !== 2) {
    return { errors: ["fPort " + input.fPort + " is not decoded, expected 2 or 5"] };
  }
  return decodeMeasurement(input.bytes);
}

function decodeMeasurement(bytes) {
  if (bytes.length < 3) {
    return { errors: ["length " + bytes.length + ": shorter than the header of 3 bytes"] };
  }
  var payload = bytes.slice(3);
  var data = {
    battery_v: ((bytes[0] & 0x7f) * 256 + bytes[1]) / 1000,
    interrupt: bytes[0] >> 7,
    payload_version: bytes[2],
    payload: payload,
  };
  var printable = payload.every(function (byte) {
    return (byte > 31 && byte < 127) || byte === 13 || byte === 10 || byte === 9;
  });
  if (payload.length > 0 && printable) {
    data.payload_text = payload.map(function (byte) { return String.fromCharCode(byte); }).join("");
  }
  return { data: data };
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
