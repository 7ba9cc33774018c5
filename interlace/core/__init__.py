"""Estimation core: arrays in, arrays out. No frames, printing, warnings or clocks."""
