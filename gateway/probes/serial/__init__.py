"""Instruments on serial lines: Modbus RTU, SDI-12, NMEA."""
