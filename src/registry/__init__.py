"""The registry: what is published, what each alias means, which workers live, and who may call."""
