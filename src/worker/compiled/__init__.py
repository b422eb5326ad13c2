"""What a compiler made of a model for one kind of host: packages of AOTInductor, and where they are kept."""
