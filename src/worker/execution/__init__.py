"""What happens to a batch on the device: its rows' memory, the model's thread, joining, cutting, and finding faults."""
