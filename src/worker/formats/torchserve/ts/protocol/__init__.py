"""See `otf_message_handler`."""
