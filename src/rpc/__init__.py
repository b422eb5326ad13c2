"""What every gRPC server and client of Penstock shares: concerns around a call, access, errors, channels, lifecycle."""
