"""SpikeSim: 2-d convolutions on in-memory crossbars."""
