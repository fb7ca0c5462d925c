"""What runs the networks, as an interface: jobs, results, scheduling, and a stand-in."""
