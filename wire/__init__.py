"""What travels between gateway and hub: identities, readings, batches, acknowledgements, topics.

Pure but for `wire.mqtt`, which alone opens a socket. Imports no other room.
"""
