"""What a hamlet has, without the hamlet: tide, water, devices, a network server. Seeded, faulty on demand."""
