"""The gateway's own machine: boots, power, temperature, card, clock."""
