"""What travels between gateway and hub: identities, readings, batches, acknowledgements, topics.

Pure but for `wire.mqtt`, the one file that opens a socket. Imports no other room.
"""
