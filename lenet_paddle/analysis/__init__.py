"""Numbers of a network: parameters, multiply-adds, receptive fields, layer outputs, attribution."""
