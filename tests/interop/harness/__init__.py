"""What the interop tests and the load measurements share: ports, processes, SIPp, tools."""
