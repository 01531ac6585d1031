"""What outlasts a crash: state, log, snapshots, damage, full disks, and processes that are killed."""
