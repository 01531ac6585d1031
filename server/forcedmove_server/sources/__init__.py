"""Where market events come from: recorded files and a simulated market."""
