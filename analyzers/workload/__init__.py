"""What ran, once for all questions: samples, layers, products, neurons, spikes, data flow."""
