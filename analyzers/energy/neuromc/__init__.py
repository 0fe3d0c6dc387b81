"""NeuroMC: training and inference on an accelerator with its memories."""
