"""The generated messages and stubs of package penstock.v1. Made by `make protos`; never edited."""
