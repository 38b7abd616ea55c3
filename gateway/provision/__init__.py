"""Provisioning: from one list of devices to everything ChirpStack must know of them, as often as one likes."""
