"""The only code that opens sockets: connections, TLS, compression, bulk transfer."""
