"""LoRaWAN devices as data: vendor trees in the ChirpStack repository layout, and our quantities beside them."""
