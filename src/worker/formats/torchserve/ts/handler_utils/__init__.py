"""See `timer`, `text_utils`, `utils`."""
